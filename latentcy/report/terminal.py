"""The closing table and the one sentence under it: plain text, at most 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from latentcy.core.record import SKIPPED, Record
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED

WIDTH = 100

# Heading, width; numbers stand to the right.
COLUMNS = (
    ("variant", 19),
    ("latency", 9),
    ("speed-up", 8),
    ("A100 published", 14),
    ("peak mem", 8),
    ("CLIP", 5),
    ("SSIM", 6),
    ("verdict", 17),
)


def table(records: Sequence[Record]) -> str:
    """Draw one table per model, device and group, with the reasons under it.

    Published figures are the A100's with Stable Diffusion v1.x, whatever ran here.
    """
    places = dict.fromkeys((record.model, record.device, record.group) for record in records)
    parts = []
    for place in places:
        members = [one for one in records if (one.model, one.device, one.group) == place]
        parts.append(_one_table(*place, members))
    return "\n\n".join(parts)


def sentence(records: Sequence[Record], *, interrupted: str = "") -> str:
    """Say in one sentence whether the run kept its promises; `interrupted` is how far it came."""
    if interrupted:
        failed = [one for one in records if one.status == FAILED and not one.control]
        named = _named(failed)
        return f"INTERRUPTED: {interrupted}{f'; FAILED so far: {named}' if named else ''}."
    judged = [record for record in records if record.status != SKIPPED]
    if not judged:
        return "INCONCLUSIVE: no variant was measured."
    kept = [record for record in judged if _kept(record)]
    failed = [record for record in judged if record.status == FAILED and not record.control]
    findings = [record for record in judged if record.status == FAILED and record.control]
    unsure = [record for record in judged if record.status == INCONCLUSIVE]
    clauses = []
    if failed:
        named = _named(failed)
        clauses.append(f"FAILED: {len(failed)} of {len(judged)} variants failed, {named}")
        if kept:
            clauses.append(f"{len(kept)} passed")
    elif kept:
        what = "what could be judged" if unsure else "every promise"
        clauses.append(f"PASSED: {len(kept)} of {len(judged)} variants kept {what}")
    else:
        clauses.append(f"INCONCLUSIVE: no gate could be judged in {len(judged)} variants")
    if unsure:
        gates = dict.fromkeys(gate for one in unsure for gate in _gate_list(one, INCONCLUSIVE))
        what = f" on {', '.join(gates)}" if gates else ""
        clauses.append(f"{len(unsure)} could not be judged{what}")
    if findings:
        named = ", ".join(one.variant for one in findings)
        clauses.append(f"the control {named} failed, as controls may")
    skipped = len(records) - len(judged)
    if skipped:
        clauses.append(f"{skipped} skipped")
    return "; ".join(clauses) + "."


def shown_seconds(seconds: float | None) -> str:
    """A time as the tables show it; "-" where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return _number(seconds, "")
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.3f} s"


def shown_bytes(count: int | None) -> str:
    """An amount of memory as the tables show it; "-" where it is not known."""
    if count is None:
        return "-"
    return f"{count / 2**20:.0f} MiB" if count < 10000 * 2**20 else f"{count / 2**30:.1f} GiB"


def _one_table(model: str, device: str, group: str, records: Sequence[Record]) -> str:
    lines = textwrap.wrap(f"{group}: {model} on {device}", WIDTH)
    lines.append("  ".join(_cell(name, index) for index, (name, _) in enumerate(COLUMNS)).rstrip())
    lines.append("  ".join("-" * width for _, width in COLUMNS))
    for record in records:
        if record.skipped is not None:
            first = COLUMNS[0][1]
            lines += textwrap.wrap(
                f"skipped: {_one_line(record.skipped)}",
                WIDTH,
                initial_indent=_cell(record.variant, 0) + "  ",
                subsequent_indent=" " * (first + 2),
            )
        else:
            cells = _cells(record)
            lines.append("  ".join(_cell(text, index) for index, text in enumerate(cells)).rstrip())
    return "\n".join(lines + _reasons(records))


def _cells(record: Record) -> tuple[str, ...]:
    published = "-"
    if record.published_seconds is not None:
        published = f"{record.published_seconds:.2f} s"
        if record.published_speedup is not None:
            published += f" ×{record.published_speedup:.2f}"
    return (
        record.variant,
        shown_seconds(record.seconds),
        _number(record.speedup, "×{:.2f}"),
        published,
        shown_bytes(record.peak_bytes),
        _number(record.clip, "{:.1f}"),
        _number(record.ssim, "{:.4f}"),
        _verdict(record),
    )


def _reasons(records: Sequence[Record]) -> list[str]:
    """One paragraph for each reason that was no pass; gates and variants that have it share it."""
    sharing: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        gates: dict[tuple[str, str], list[str]] = {}
        for verdict in record.verdicts if record.skipped is None else ():
            if verdict.status != PASSED:
                key = (verdict.status, _one_line(verdict.reason))
                gates.setdefault(key, []).append(verdict.gate)
        for (status, reason), names in gates.items():
            shared = sharing.setdefault((" and ".join(names), status, reason), [])
            shared.append(record.variant)
    texts = [f"{one.variant} got {one.planned}" for one in records if one.planned]
    for (gate, status, reason), variants in sharing.items():
        texts.append(f"{', '.join(dict.fromkeys(variants))}: {gate} {status}: {reason}")
    lines = []
    for text in texts:
        lines += textwrap.wrap(
            text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    return lines


def _named(failed: Sequence[Record]) -> str:
    return ", ".join(f"{one.group}/{one.variant} ({_gates(one, FAILED)})" for one in failed)


def _kept(record: Record) -> bool:
    """No gate failed, and at least one passed."""
    return record.status in (PASSED, INCONCLUSIVE) and bool(_gate_list(record, PASSED))


def _verdict(record: Record) -> str:
    """The worst that was found; gates that could not be judged are counted behind a pass."""
    if record.status == FAILED:
        return "control failed" if record.control else "FAILED"
    prefix = "control " if record.control else ""
    if record.status == INCONCLUSIVE and _kept(record):
        open_gates = len(_gate_list(record, INCONCLUSIVE))
        return "control passed" if record.control else f"passed, {open_gates} open"
    return f"{prefix}{record.status}"


def _gate_list(record: Record, status: str) -> list[str]:
    return list(dict.fromkeys(one.gate for one in record.verdicts if one.status == status))


def _gates(record: Record, status: str) -> str:
    return ", ".join(_gate_list(record, status))


def _cell(text: str, index: int) -> str:
    width = COLUMNS[index][1]
    if len(text) > width:
        text = text[: width - 1] + "~"
    return text.ljust(width) if index in (0, len(COLUMNS) - 1) else text.rjust(width)


def _number(value: float | None, pattern: str) -> str:
    if value is None:
        return "-"
    if math.isnan(value):
        return "NaN"
    return pattern.format(value) if math.isfinite(value) else "inf"


def _one_line(text: str) -> str:
    return " ".join(text.split())
