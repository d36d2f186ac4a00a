"""`python -m latentcy changes`: when the numbers of a history changed, and a gate on it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentcy.core.errors import LatentcyError
from latentcy.report.changes import changes_text, size
from latentcy.stats.changepoints import ALPHA
from latentcy.store.history.changes import LEAST, Change, find_changes, new_machines
from latentcy.store.history.rows import Series
from latentcy.store.history.store import History


def add_changes(parser: argparse.ArgumentParser, *, history_help: str, default: str) -> None:
    """Options of the command."""
    parser.add_argument("--history", default=default, metavar="URL", help=history_help)
    parser.add_argument("--case", help="this case only")
    parser.add_argument("--metric", help="this metric only, for example latency")
    parser.add_argument("--branch", help="runs of this branch only")
    parser.add_argument("--last", type=_count, default=500, help="among the newest runs"
                        " (default: 500)")  # fmt: skip
    parser.add_argument(
        "--at-least",
        type=_share,
        default=LEAST,
        metavar="PERCENT",
        help=f"leave out smaller changes (default: {100 * LEAST:g})",
    )
    parser.add_argument(
        "--fail-on-change",
        action="store_true",
        help="exit status 1 where a number became worse within the newest runs",
    )
    parser.add_argument(
        "--newest",
        type=_count,
        default=20,
        metavar="N",
        help="runs of a series that --fail-on-change looks at (default: 20)",
    )
    parser.set_defaults(command=changes)


def changes(asked: argparse.Namespace) -> int:
    """Prints the changes; 1 where --fail-on-change finds one for the worse, else 0."""
    with History(asked.history, must_exist=True) as history:
        chosen = {"case": asked.case, "metric": asked.metric, "branch": asked.branch}
        series = history.all_series(**chosen, last=asked.last)
        if not series:
            raise LatentcyError(
                found=f"no such series in {history.shown}",
                expected="one of the cases " + (", ".join(history.cases()) or "(there is none)"),
                do="correct --case, --metric or --branch, or record a run",
            )
    found = {_key(one): find_changes(one, least=asked.at_least) for one in series}
    machines = {_key(one): new_machines(one) for one in series}
    text = changes_text(series, found, machines)
    if text:
        print(text, end="\n\n")
    count = sum(len(some) for some in found.values())
    print(f"{_plural(count, 'change')} in {_plural(len(series), 'series')}.")
    if not asked.fail_on_change:
        return 0
    return _gate(series, [each for some in found.values() for each in some], asked.newest)


def worse_lately(
    series: Sequence[Series], changes: Sequence[Change], newest: int
) -> tuple[Change, ...]:
    """Changes for the worse among the newest runs of their series, sure enough to fail a gate.

    Many series are looked at, and each has its chance of a false change: what fails a gate has to
    hold for all of them together (Bonferroni).
    """
    runs = {(one.case, one.metric): len(one.points) for one in series}
    return tuple(
        one
        for one in changes
        if one.worse
        and one.index >= runs[one.case, one.metric] - newest
        and one.p * len(series) <= ALPHA
    )


def _gate(series: Sequence[Series], found: Sequence[Change], newest: int) -> int:
    bad = worse_lately(series, found, newest)
    for one in bad:
        before, after = (name[:10] for name in (one.commit_before, one.commit_after))
        between = f" between {before} and {after}" if before and after else ""
        print(f"FAILED: {one.case}, {one.metric}: {size(one)}{between}")
    if not bad:
        print(f"PASSED: nothing became worse within the newest {_plural(newest, 'run')}.")
    return 1 if bad else 0


def _key(series: Series) -> tuple[str, str, str]:
    return series.case, series.metric, series.unit


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 or noun == "series" else f"{count} {noun}s"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 100:
        raise argparse.ArgumentTypeError(f"{text} is no percentage")
    return number / 100
