"""`python -m latentcy history`: runs into a history, out of it, shown, and taken out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from latentcy.commands import changes as changes_commands
from latentcy.core.errors import LatentcyError
from latentcy.store.history import export_file as exports
from latentcy.store.history import text as show
from latentcy.store.history.imports import read_runs
from latentcy.store.history.rows import RunRows
from latentcy.store.history.store import History

DEFAULT = "latentcy-history.db"
HISTORY_HELP = (
    "the history: a path to a SQLite file, or postgresql+psycopg://USER@HOST/DATABASE "
    f"(default: {DEFAULT})"
)


def add_commands(subparsers: Any) -> None:
    """Adds `history` and `changes` to what `python -m latentcy` can do."""
    _add_history(
        subparsers.add_parser("history", help="runs over time: import, export, show, prune")
    )
    changes_commands.add_changes(
        subparsers.add_parser("changes", help="when the numbers of a history changed"),
        history_help=HISTORY_HELP,
        default=DEFAULT,
    )


def _add_history(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, text: str, command: Any) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=text)
        one.add_argument("--history", default=DEFAULT, metavar="URL", help=HISTORY_HELP)
        one.set_defaults(command=command)
        return one

    take = action("import", "write runs into the history, each once", _import)
    take.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="run.json or its folder, pytest-benchmark's JSON, or an exported history",
    )
    give = action("export", "write the whole history to a file", _export)
    give.add_argument("--out", type=Path, help="file (default: standard output)")
    give.add_argument("--format", choices=sorted(exports.WRITERS), default="jsonl")
    look = action("show", "the newest runs, or one series", _show)
    look.add_argument("--last", type=_count, default=20, help="number of runs (default: 20)")
    look.add_argument("--branch", help="of this branch only")
    look.add_argument("--case", help="the case's series; without it, the runs and the cases")
    look.add_argument("--metric", default="latency", help="of the case (default: latency)")
    clear = action("prune", "take old runs out", _prune)
    limit = clear.add_mutually_exclusive_group(required=True)
    limit.add_argument("--keep", type=_count, metavar="N", help="keep the newest N runs")
    limit.add_argument("--older-than", type=_before, metavar="DAYS|DATE",
                       help="take out what started so many days ago, or before a date")  # fmt: skip
    clear.add_argument("--dry-run", action="store_true", help="say what would go, keep it")


def _import(asked: argparse.Namespace) -> int:
    """A file that cannot be read costs no other; 2 where there was one."""
    unread: list[LatentcyError] = []
    with History(asked.history, run_file=asked.files[0]) as history:
        for file in asked.files:
            before = len(unread)
            added = history.add(_readable(file, unread))
            if len(unread) == before or added.written or added.known:
                known = f", {added.known} were there already" if added.known else ""
                print(f"{file}: {_runs(len(added.written))} written{known}")
            for error in unread[before:]:
                print(error, file=sys.stderr)
    return 2 if unread else 0


def _readable(file: Path, unread: list[LatentcyError]) -> Iterator[RunRows]:
    """The file's runs up to where it cannot be read; why not is added to `unread`."""
    try:
        yield from read_runs(file)
    except LatentcyError as error:
        unread.append(error)


def _export(asked: argparse.Namespace) -> int:
    with History(asked.history, must_exist=True) as history:
        write = exports.WRITERS[asked.format]
        if asked.out is None:
            write(history.read(), sys.stdout)
            return 0
        part = asked.out.with_name(asked.out.name + ".part")
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                count = write(history.read(), file)
            os.replace(part, asked.out)
        except OSError as error:
            raise LatentcyError(
                found=f"{asked.out}, which cannot be written ({error.strerror or error})",
                expected="a file in a folder that this user may write to, on a disk with room",
                do="name another with --out",
            ) from error
    print(f"{asked.out}: {_runs(count)} of {history.shown}")
    return 0


def _show(asked: argparse.Namespace) -> int:
    with History(asked.history, must_exist=True) as history:
        if asked.case is None:
            runs = history.runs(last=asked.last, branch=asked.branch)
            print(show.runs_table(runs) if runs else f"{history.shown} holds no run.")
            names = history.names()
            print("", show.names_table(names), sep="\n") if names else None
            return 0
        series = history.series(asked.case, asked.metric, last=asked.last, branch=asked.branch)
        if not series.points:
            names = tuple(one for one in history.names() if one.case == asked.case)
            known = (
                ", ".join(one.metric for one in names) or ", ".join(history.cases()) or "no case"
            )
            raise LatentcyError(
                found=f"no {asked.metric} of {asked.case} among the last {_runs(asked.last)}",
                expected=f"one of: {known}",
                do="correct --case or --metric, or look at more runs with --last",
            )
        print(show.series_table(series))
    return 0


def _prune(asked: argparse.Namespace) -> int:
    with History(asked.history, must_exist=True) as history:
        gone = history.prune(keep=asked.keep, before=asked.older_than, dry=asked.dry_run)
        left = len(history.runs())
    if gone:
        print(show.runs_table(gone))
    numbers = sum(one.measurements for one in gone)
    verb = "would be taken out" if asked.dry_run else "taken out"
    print(f"{_runs(len(gone))} with {numbers} numbers {verb}; {_runs(left)} in {history.shown}.")
    return 0


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _before(text: str) -> str:
    """A time in UTC, of a number of days or of a date."""
    try:
        when = datetime.now(UTC) - timedelta(days=float(text))
    except (ValueError, OverflowError):
        try:
            when = datetime.fromisoformat(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither a number of days nor a date like 2026-01-31"
            ) from error
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
