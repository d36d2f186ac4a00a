"""Speed by pairs, a line a case: how much faster or slower than what, and how surely."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from latentcy.core.record import Record
from latentcy.report.terminal import WIDTH


def speed_lines(records: Sequence[Record]) -> list[str]:
    """Lines of at most `WIDTH` columns; none where nothing was timed in pairs."""
    lines: list[str] = []
    for record in records:
        one = record.comparison
        if one is None or one.nothing:
            continue
        judged = (
            ""
            if any(each.gate in ("speed", "self-check") for each in record.verdicts)
            else ", not judged"
        )
        text = f"{record.group}/{record.variant}: {one.size} than {record.paired_with}; "
        lines += textwrap.wrap(
            f"{text}{one.pairs} pairs{judged}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return ["", "Speed by pairs (each bound holds with 99 %):", *lines] if lines else []
