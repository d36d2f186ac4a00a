"""The catch table: which gates reported each injected fault, and whether for the right reason."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latentcy.core.record import Record
from latentcy.core.verdict import FAILED

CAUGHT, WRONG, MISSED, NOT_RUN = "caught", "wrong reason", "MISSED", "not run"
WIDTH = 100


@dataclass(frozen=True)
class Expected:
    """What has to become of one fault.

    Attributes:
        fault: its name, which is its variant's too.
        source: who met it.
        gates: at least one of these has to fail; none for a healthy control, where none may.
        says: regular expression that the reason of one of those has to match.
        what: one sentence on what goes wrong.
        category: the heading that it stands under.
    """

    fault: str
    source: str = ""
    gates: tuple[str, ...] = ()
    says: str = ""
    what: str = ""
    category: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one fault.

    Attributes:
        expected: what had to.
        caught_by: every gate that failed, in the record's order.
        by_right: those of the expected gates whose reason says what it should.
        reason: of the first of `by_right`, else of the first expected gate that failed, else of
            the first that failed at all; "" where none did.
        ran: whether there is a record at all.
    """

    expected: Expected
    caught_by: tuple[str, ...]
    by_right: tuple[str, ...]
    reason: str
    ran: bool = True

    @property
    def status(self) -> str:
        """ "caught", "wrong reason", "MISSED" or "not run"; of a healthy control, see `sound`."""
        if not self.ran:
            return NOT_RUN
        if self.by_right:
            return CAUGHT
        return WRONG if self.caught_by else MISSED

    @property
    def sound(self) -> bool:
        """Whether it ran and no gate failed, which a healthy control has to."""
        return self.ran and not self.caught_by


def outcomes(records: Iterable[Record], expected: Iterable[Expected]) -> tuple[Outcome, ...]:
    """What became of each fault, in the order of `expected`."""
    by_name = {record.variant: record for record in records}
    return tuple(_outcome(by_name.get(one.fault), one) for one in expected)


def catch_table(found: Sequence[Outcome]) -> str:
    """A table for the terminal, the reasons of what was missed under it, and one sentence."""
    wide = max([len("fault"), *(len(one.expected.fault) for one in found)])
    heading = f"{'fault':{wide}}  {'':12}  caught by (must be one of)"
    lines = [heading, f"{'-' * wide}  {'-' * 12}  {'-' * (WIDTH - wide - 16)}"]
    for one in found:
        lines += textwrap.wrap(
            f"{_caught(one)} ({', '.join(one.expected.gates) or 'none may fail'})",
            WIDTH,
            initial_indent=f"{one.expected.fault:{wide}}  {_status(one):12}  ",
            subsequent_indent=" " * (wide + 16),
            break_on_hyphens=False,
        )
    for one in found:
        if one.caught_by and _status(one) != "ok":
            lines += textwrap.wrap(
                f"{one.expected.fault}: {one.reason}",
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
    return "\n".join([*lines, sentence(found)])


def markdown(found: Sequence[Outcome]) -> str:
    """The table for a document, one section for each category."""
    parts = []
    for category in dict.fromkeys(one.expected.category for one in found):
        rows = [
            "| fault | what goes wrong | source | must be caught by | caught by | missed |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for one in found:
            if one.expected.category == category:
                cells = (
                    f"`{one.expected.fault}`",
                    one.expected.what,
                    one.expected.source,
                    " or ".join(one.expected.gates),
                    ", ".join(one.by_right) or "-",
                    "" if one.status == CAUGHT else one.status,
                )
                rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        parts.append("\n".join([f"### {category.capitalize() or 'Faults'}", "", *rows]))
    return "\n\n".join(parts)


def sentence(found: Sequence[Outcome]) -> str:
    """How many faults were caught, and how many healthy controls were left alone."""
    faults = [one for one in found if one.expected.gates]
    healthy = [one for one in found if not one.expected.gates]
    parts = []
    if faults:
        caught = [one for one in faults if one.status == CAUGHT]
        parts.append(f"{len(caught)} of {len(faults)} faults caught, each for its reason")
        for status in (MISSED, WRONG, NOT_RUN):
            names = [one.expected.fault for one in faults if one.status == status]
            if names:
                parts.append(f"{status}: {', '.join(names)}")
    if healthy:
        alone = sum(one.sound for one in healthy)
        parts.append(f"no gate failed in {alone} of {len(healthy)} healthy controls")
    return f"{'; '.join(parts)}." if parts else "Nothing was injected."


def _outcome(record: Record | None, expected: Expected) -> Outcome:
    if record is None:
        return Outcome(expected, (), (), "", ran=False)
    failed = [one for one in record.verdicts if one.status == FAILED]
    asked = [one for one in failed if one.gate in expected.gates]
    right = [one for one in asked if re.search(expected.says, one.reason)]
    first = next(iter([*right, *asked, *failed]), None)
    return Outcome(
        expected=expected,
        caught_by=tuple(one.gate for one in failed),
        by_right=tuple(one.gate for one in right),
        reason=f"{first.gate}: {first.reason}" if first else "",
        ran=record.skipped is None and bool(record.verdicts),
    )


def _status(one: Outcome) -> str:
    if one.expected.gates or not one.ran:
        return one.status
    return "ok" if one.sound else "FALSE ALARM"


def _caught(one: Outcome) -> str:
    others = [gate for gate in one.caught_by if gate not in one.by_right]
    return ", ".join([*one.by_right, *others]) or "-"
