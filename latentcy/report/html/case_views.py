"""What the page says of a run, as plain texts in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentcy.core.metrics import BY_NAME
from latentcy.core.record import SKIPPED, Record
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.report.html.run_view import RunView, figure, profile, run_again
from latentcy.report.html.wording import NONE, clip, number, seconds, size, sound

STATUSES = (FAILED, INCONCLUSIVE, PASSED, SKIPPED)
_FIRST = {status: place for place, status in enumerate(STATUSES)}


@dataclass(frozen=True)
class Gate:
    """A verdict; `status` is one of STATUSES."""

    name: str
    status: str
    reason: str


@dataclass(frozen=True)
class CaseView:
    """A case with its gates, failed ones first."""

    index: int  # in the run's records
    label: str
    changes: str
    status: str
    control: bool
    skipped: str
    gates: tuple[Gate, ...]
    marks: tuple[str, ...]
    command: str

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that failed."""
        return tuple(one for one in self.gates if one.status == FAILED)

    def gate(self, name: str) -> Gate | None:
        """The worst verdict of a gate; None where the case has none."""
        return next((one for one in self.gates if one.name == name), None)


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first of each row names it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def case_views(shown: RunView, labels: Sequence[str]) -> tuple[CaseView, ...]:
    """All cases, those that failed first; within a status in the run's order."""
    views = [
        _view(index, label, record, plain, shown.command)
        for index, (label, record, plain) in enumerate(
            zip(labels, shown.records, shown.plain, strict=True)
        )
    ]
    return tuple(sorted(views, key=lambda one: (_FIRST[one.status], one.control)))


def _got(record: Record) -> tuple[str, ...]:
    return (f"It got {record.planned}.",) if record.planned else ()


def gate_names(records: Sequence[Record]) -> tuple[str, ...]:
    """All gates of the run, in the order in which they were judged."""
    every = (verdict.gate for record in records for verdict in record.verdicts)
    return tuple(dict.fromkeys(clip(one, 60) for one in every))


def open_reasons(views: Sequence[CaseView]) -> tuple[tuple[str, str], ...]:
    """What could not be judged: which gates of which cases, and why; one entry a reason."""
    sharing: dict[str, dict[str, list[str]]] = {}
    for view in views:
        for gate in view.gates:
            if gate.status == INCONCLUSIVE:
                sharing.setdefault(gate.reason, {}).setdefault(gate.name, []).append(view.label)
    entries = []
    for reason, gates in sharing.items():
        cases = dict.fromkeys(label for labels in gates.values() for label in labels)
        entries.append((f"{' and '.join(gates)} of {', '.join(cases)}", reason))
    return tuple(entries)


def figures_table(records: Sequence[Record], labels: Sequence[str]) -> Table:
    """The numbers of the closing table, in the run's order."""
    head = ("case", "latency", "speed-up", "A100 published", "peak memory", "CLIP", "SSIM")
    rows = ((label, *_figures(one)) for label, one in zip(labels, records, strict=True))
    return Table(head, tuple(rows))


def profile_tables(shown: RunView, labels: Sequence[str]) -> list[tuple[str, Table]]:
    """Titled tables of the quality profiles; none where no case has one."""
    parts = (("against", "Each image against its reference's"), ("alone", "Each image alone"))
    tables = [(title, _profile_table(shown, labels, part)) for part, title in parts]
    return [(title, table) for title, table in tables if table.rows]


def environment_table(shown: RunView, compared: Mapping[str, Mapping[str, str]]) -> Table:
    """The run's environment beside those that it was held against."""
    columns = {"this run": shown.run.environment, **shown.compared, **compared}
    for record in shown.records:
        if dict(record.environment) != dict(shown.run.environment) and record.environment:
            columns.setdefault(f"{record.group}/{record.variant}", record.environment)
    names = dict.fromkeys(str(name) for one in columns.values() for name in one)
    rows = tuple(
        (clip(name, 200), *(clip(one.get(name, NONE), 2000) for one in columns.values()))
        for name in names
    )
    return Table(("", *(clip(name, 100) for name in columns)), rows)


def differing(table: Table) -> tuple[str, ...]:
    """The names of the rows whose cells are not all the same."""
    return tuple(row[0] for row in table.rows if len(set(row[1:])) > 1)


def _profile_table(shown: RunView, labels: Sequence[str], part: str) -> Table:
    """Mean, interval and worst of each metric."""
    profiles = [profile(plain, part) for plain in shown.plain]
    names = tuple(dict.fromkeys(name for one in profiles for name in one))
    rows = tuple(
        (label, *(_metric(one.get(name)) for name in names))
        for label, one in zip(labels, profiles, strict=True)
        if one
    )
    return Table(("case", *map(_metric_name, names)), rows)


def _metric_name(name: str) -> str:
    """With its direction, where the metric is one of ours and has one."""
    better = BY_NAME[name].better if name in BY_NAME else "same"
    return clip(name, 60) if better == "same" else f"{name} ({better} is better)"


def _view(
    index: int, label: str, record: Record, plain: Mapping[str, Any], command: Sequence[str]
) -> CaseView:
    gates = sorted(map(_gate, record.verdicts), key=lambda one: _FIRST[one.status])
    return CaseView(
        index=index,
        label=label,
        changes=clip(" ".join([record.changes, *_got(record)]), 2000),
        status=record.status,
        control=bool(record.control),
        skipped=clip(record.skipped) if record.skipped is not None else "",
        gates=tuple(gates),
        marks=tuple(clip(one, 2000) for one in record.marks),
        command=run_again(record, plain, command),
    )


def _gate(verdict: Verdict) -> Gate:
    """A status that is none of ours fails, as `Record.status` has it."""
    known = verdict.status in (PASSED, INCONCLUSIVE)
    status = verdict.status if known else FAILED
    return Gate(clip(verdict.gate, 60), status, clip(verdict.reason))


def _figures(record: Record) -> tuple[str, ...]:
    published = NONE
    if sound(record.published_seconds):
        published = seconds(record.published_seconds)
        if sound(record.published_speedup):
            published += f" ×{record.published_speedup:.2f}"
    return (
        seconds(record.seconds),
        number(record.speedup, "×{:.2f}"),
        published,
        size(record.peak_bytes),
        number(record.clip, "{:.1f}"),
        number(record.ssim, "{:.4f}"),
    )


def _metric(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return NONE
    mean, low, high, worst = (figure(one.get(name)) for name in ("mean", "low", "high", "worst"))
    text = number(mean)
    if sound(low) and sound(high):
        text += f" ({number(low)} to {number(high)})"
    return text if worst is None else f"{text}, worst {number(worst)}"
