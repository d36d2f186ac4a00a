"""A run in Markdown, for a job's summary page: the verdict first, then why, then the figures."""

from __future__ import annotations

from collections.abc import Sequence

from latentcy.core.record import SKIPPED, Record
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.report.reproduce import reproduce
from latentcy.report.terminal import sentence, shown_bytes, shown_seconds
from latentcy.store.results import RunFile

MARKS = {PASSED: "✅", FAILED: "❌", INCONCLUSIVE: "❔", SKIPPED: "⏭️"}
_ENVIRONMENT = ("device", "driver", "cuda", "torch", "diffusers", "transformers", "python", "os")


def summary(run: RunFile) -> str:
    """The run as GitHub-flavoured Markdown; whatever comes from a file is escaped."""
    parts = [
        "## Latentcy",
        _escaped(sentence(run.records, interrupted=run.interrupted)),
        *_failures(run),
        _table(run.records),
        *_open_gates(run.records),
        _environment(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _failures(run: RunFile) -> list[str]:
    """A paragraph for each failed gate, with the command that runs its case again."""
    command = run.about.command if run.about else ()
    parts = []
    for record in run.records:
        failed = [one for one in record.verdicts if one.status == FAILED]
        if not failed or record.skipped is not None:
            continue
        what = " (known-bad control: a finding, no failure)" if record.control else ""
        lines = [f"### {MARKS[FAILED]} {_escaped(f'{record.group}/{record.variant}')}{what}"]
        lines += [f"- **{_escaped(one.gate)}**: {_escaped(one.reason)}" for one in failed]
        again = reproduce(record, command).replace("`", "'")
        parts.append("\n".join([*lines, "", f"Run it again: `{again}`"]))
    return parts


def _table(records: Sequence[Record]) -> str:
    heading = ("case", "", "latency", "speed-up", "slower by", "peak memory", "CLIP", "SSIM")
    rows = ["| " + " | ".join(heading) + " |", "|" + " --- |" * len(heading)]
    for one in records:
        rows.append("| " + " | ".join(_cells(one)) + " |")
    return "\n".join(rows)


def _cells(record: Record) -> tuple[str, ...]:
    name = _escaped(f"{record.group}/{record.variant}")
    if record.skipped is not None:
        return (name, MARKS[SKIPPED], _escaped(record.skipped), "", "", "", "", "")
    slower = ""
    if record.comparison is not None:
        low, high = (100 * (each - 1) for each in (record.comparison.low, record.comparison.high))
        slower = f"{100 * (record.comparison.ratio - 1):+.2f} % ({low:+.2f} to {high:+.2f})"
    return (
        name,
        MARKS.get(record.status, MARKS[FAILED]),
        shown_seconds(record.seconds),
        "" if record.speedup is None else f"×{record.speedup:.2f}",
        slower,
        shown_bytes(record.peak_bytes),
        "" if record.clip is None else f"{record.clip:.1f}",
        "" if record.ssim is None else f"{record.ssim:.4f}",
    )


def _open_gates(records: Sequence[Record]) -> list[str]:
    """What nothing could be held against, folded away."""
    lines = [
        f"- {_escaped(f'{one.group}/{one.variant}')}: **{_escaped(each.gate)}** "
        f"{_escaped(each.reason)}"
        for one in records
        for each in one.verdicts
        if each.status == INCONCLUSIVE
    ]
    if not lines:
        return []
    head = f"<details><summary>{len(lines)} open gates</summary>"
    return ["\n".join([head, "", *lines, "", "</details>"])]


def _environment(run: RunFile) -> str:
    known = [f"{name} {run.environment[name]}" for name in _ENVIRONMENT if name in run.environment]
    if run.about and run.about.commit:
        known.append(f"commit {run.about.commit[:12]}")
    return _escaped("; ".join([run.reason, *known]))


def _escaped(text: str) -> str:
    """One line of text in which neither Markdown nor HTML is markup."""
    return " ".join(text.split()).translate(_MARKUP)


_MARKUP = str.maketrans({each: f"&#{ord(each)};" for each in "\\`*_[]<>|#&"})
