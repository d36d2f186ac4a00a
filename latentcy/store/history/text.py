"""Runs and series of a history as plain text of at most 100 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from latentcy.store.history.rows import Series, SeriesName, StoredRun

WIDTH = 100


def runs_table(runs: Sequence[StoredRun]) -> str:
    """A line a run, oldest first."""
    lines = [("run", "started (UTC)", "commit", "branch", "numbers", "machine")]
    for one in runs:
        run = one.run
        machine = run.environment.fingerprint.removeprefix("device: ")
        numbers = str(one.measurements)
        lines.append((run.id, _minute(run.started), run.commit, run.branch, numbers, machine))
    return columns(lines, (12, 16, 10, 14, 7, 31), right=(4,))


def names_table(names: Sequence[SeriesName]) -> str:
    """A line a case and metric."""
    lines = [("case", "metric", "unit", "runs")]
    lines += [(one.case, one.metric, one.unit, str(one.runs)) for one in names]
    return columns(lines, (54, 26, 6, 8), right=(3,))


def series_table(series: Series) -> str:
    """A line a run of one case and metric, oldest first; a line where the machine changes."""
    lines: list[tuple[str, ...]] = [
        ("started (UTC)", "commit", "branch", "value", "low", "high", "verdict")
    ]
    machines: list[str] = []
    for point in series.points:
        numbers = (number(one, series.unit) for one in (point.value, point.low, point.high))
        start = _minute(point.started)
        lines.append((start, point.commit, point.branch, *numbers, point.status))
        machines.append(point.environment.fingerprint)
    drawn = columns(lines, (16, 10, 14, 12, 12, 12, 12), right=(3, 4, 5)).splitlines()
    text = [_cut(f"{series.case}, {series.metric}", WIDTH), *drawn[:2]]
    for place, line in enumerate(drawn[2:]):
        if place == 0 or machines[place] != machines[place - 1]:
            text.append(_cut(f"on {machines[place] or 'an unknown machine'}", WIDTH))
        text.append(line)
    return "\n".join(text)


def number(value: float | None, unit: str) -> str:
    """A number with its unit: seconds as ms where they are few, bytes as MiB or GiB."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf"
    if unit == "s":
        if abs(value) < 1e-3:
            return f"{value * 1e6:.4g} us"
        return f"{value * 1e3:.4g} ms" if abs(value) < 1 else f"{value:.4g} s"
    if unit == "bytes":
        return (
            f"{value / 2**20:.1f} MiB" if abs(value) < 10000 * 2**20 else f"{value / 2**30:.2f} GiB"
        )
    return f"{value:.5g} {unit}".strip()


def columns(
    lines: Sequence[Sequence[str]], widths: Sequence[int], *, right: Sequence[int] = ()
) -> str:
    """Lines in columns of at most these widths, the first one a heading; what is longer is cut."""
    used = [
        min(width, max(len(line[place]) for line in lines)) for place, width in enumerate(widths)
    ]
    drawn = []
    for line in lines:
        cells = [_cut(" ".join(text.split()), used[place]) for place, text in enumerate(line)]
        cells = [
            cell.rjust(used[place]) if place in right else cell.ljust(used[place])
            for place, cell in enumerate(cells)
        ]
        drawn.append("  ".join(cells).rstrip())
    drawn.insert(1, "  ".join("-" * width for width in used))
    return "\n".join(drawn)


def _minute(started: str) -> str:
    return started[:16].replace("T", " ")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"
