"""Changes as plain text of at most 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

from latentcy.store.history.changes import Change, NewMachine
from latentcy.store.history.rows import Series
from latentcy.store.history.text import WIDTH, number


def changes_text(
    series: Sequence[Series],
    changes: Mapping[tuple[str, str, str], Sequence[Change]],
    machines: Mapping[tuple[str, str, str], Sequence[NewMachine]],
) -> str:
    """A paragraph a series that changed, its changes and new machines in order of time."""
    parts = []
    for one in series:
        key = (one.case, one.metric, one.unit)
        lines = [(each.index, _machine_lines(each)) for each in machines.get(key, ())]
        lines += [(each.index, _change_lines(each, one)) for each in changes.get(key, ())]
        if lines:
            head = textwrap.wrap(f"{one.case}, {one.metric} ({len(one.points)} runs)", WIDTH)
            ordered = sorted(lines, key=lambda each: each[0])
            parts.append("\n".join([*head, *(line for _, some in ordered for line in some)]))
    return "\n\n".join(parts)


def size(change: Change) -> str:
    """ "+3.1 % (+2.6 to +3.5 %)"."""
    if not math.isfinite(change.ratio):
        return "from or to zero"
    middle, low, high = (100 * (one - 1) for one in (change.ratio, change.low, change.high))
    places = 1 if abs(middle) >= 1 else 2
    bounds = f"{low:+.{places}f} to {high:+.{places}f} %"
    return f"{middle:+.{places}f} % ({bounds})"


def _change_lines(change: Change, series: Series) -> list[str]:
    way = {True: "WORSE", False: "better", None: "changed"}[change.worse]
    first = series.points[change.index]
    before, after = (number(one, series.unit) for one in (change.before, change.after))
    text = (
        f"{way} {size(change)}: {before} -> {after}, {first.started[:10]}, "
        f"between {_name(change.commit_before, change.run_before)} and "
        f"{_name(change.commit_after, change.run_after)}, {_odds(change.p)}"
    )
    lines = _wrapped(text, "  ", "      ")
    if change.latest > change.earliest:
        last = series.points[change.latest]
        start = series.points[change.earliest - 1]
        where = (
            f"surely after {_name(start.commit, start.run)} "
            f"and not after {_name(last.commit, last.run)}"
        )
        lines += _wrapped(where, "      ", "      ")
    if change.versions_changed:
        lines += _wrapped("; ".join(change.versions_changed), "      ", "        ")
    return lines


def _machine_lines(machine: NewMachine) -> list[str]:
    name = _name(machine.commit, machine.run)
    words = machine.fingerprint or "an unknown machine"
    return _wrapped(f"new machine from {name} on, a series of its own: {words}", "  ", "      ")


def _odds(p: float) -> str:
    """How often chance alone shows as much, somewhere in a series of this length."""
    if p < 1e-6:
        return "p < 0.000001"
    return f"p = {p:.1g}" if p < 1e-3 else f"p = {p:.2g}"


def _name(commit: str, run: str) -> str:
    return commit[:10] or f"run {run[:10]}"


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
    )
