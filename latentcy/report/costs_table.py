"""Where the time goes, as plain text of at most 100 columns: seconds, work and memory by case."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

from latentcy.core.costs import Component, Costs, is_known

WIDTH = 100
LABEL = 30  # columns of a case's name

# Heading, and what stands under it.
_SECONDS = (
    ("load", lambda one: _seconds(one.calls.load_seconds)),
    ("first", lambda one: _seconds(one.calls.first_seconds)),
    ("compile", lambda one: _seconds(one.calls.compile_seconds)),
    ("warm", lambda one: _seconds(one.calls.warm_seconds)),
    ("text", lambda one: _seconds(one.stages.get("text_encoding"))),
    ("per step", lambda one: _seconds(one.step_seconds)),
    ("decode", lambda one: _seconds(one.stages.get("decoding"))),
)
_WORK = (
    ("work", lambda one: _giga(one.flops.total if one.flops else None)),
    ("peak", lambda one: _giga(one.peak.flops_per_second if one.peak else None)),
    ("share", lambda one: _share(one.total_share)),
    ("text", lambda one: _share(one.share("text_encoding"))),
    ("step", lambda one: _share(one.share("denoising"))),
    ("decode", lambda one: _share(one.share("decoding"))),
)
_MEMORY = (
    ("params", lambda one: _millions(sum(part.parameters for part in one.components))),
    ("weights", lambda one: _bytes(sum(part.bytes for part in one.components) or None)),
    ("peak", lambda one: _memory(one, "peak_bytes")),
    ("reserved", lambda one: _memory(one, "peak_reserved_bytes")),
    ("after", lambda one: _memory(one, "after_allocated_bytes")),
    ("reserved", lambda one: _memory(one, "after_reserved_bytes")),
    ("process", lambda one: _memory(one, "after_resident_bytes")),
)

_Columns = Sequence[tuple[str, Callable[[Costs], str]]]


def costs_table(costs: Mapping[str, Costs]) -> str:
    """Draw what each case costs, by its label; "-" stands for what is not known.

    Compilation is the first call less the warm one. Work is floating-point operations of one
    generation, its share that of the peak which a matrix product reached in this run. Memory is
    one generation's peak, then what is held after it, then the resident set of the process.
    """
    if not costs:
        return ""
    blocks = (
        (
            "Time: loading, a first and a warm call, their difference, the warm one's stages",
            _SECONDS,
        ),
        ("Work in GFLOP, the device's measured peak in GFLOP/s, the share of it by stage", _WORK),
        ("Memory: weights; in use and reserved at the peak, and after it; of the process", _MEMORY),
    )
    parts = [_block(heading, columns, costs) for heading, columns in blocks]
    notes = _notes(costs)
    return "\n\n".join([*parts, notes] if notes else parts)


def components_table(components: Sequence[Component]) -> str:
    """Draw the parts of one pipeline with their parameters and bytes, and their sum."""
    rows = [("component", "parameters", "bytes", "dtypes")]
    for one in components:
        rows.append((one.name, _millions(one.parameters), _bytes(one.bytes), ", ".join(one.dtypes)))
    parameters = sum(one.parameters for one in components)
    rows.append(("all", _millions(parameters), _bytes(sum(one.bytes for one in components)), ""))
    lines = [f"{_cut(a, LABEL):<{LABEL}}  {b:>13}  {c:>12}  {_cut(d, 39)}" for a, b, c, d in rows]
    return "\n".join(line.rstrip() for line in lines)


def _block(heading: str, columns: _Columns, costs: Mapping[str, Costs]) -> str:
    width = (WIDTH - LABEL) // len(columns) - 1
    lines = [heading]
    lines.append(" " * LABEL + "".join(f" {_cut(name, width):>{width}}" for name, _ in columns))
    for label, one in costs.items():
        cells = "".join(f" {_cut(cell(one), width):>{width}}" for _, cell in columns)
        lines.append(f"{_cut(label, LABEL):<{LABEL}}{cells}")
    return "\n".join(lines)


def _notes(costs: Mapping[str, Costs]) -> str:
    """What was not simply counted; cases with the same note share a line."""
    sharing: dict[str, list[str]] = {}
    for label, one in costs.items():
        for note in one.flops.notes if one.flops else ():
            sharing.setdefault(note, []).append(label)
    lines = []
    for note, labels in sharing.items():
        lines += textwrap.wrap(
            f"{', '.join(labels)}: {note}", WIDTH, initial_indent="  ", subsequent_indent="    "
        )
    return "\n".join(lines)


def _memory(one: Costs, name: str) -> str:
    return _bytes(getattr(one.memory, name, None))


def _seconds(seconds: float | None) -> str:
    if not is_known(seconds):
        return "-"
    if seconds < 0.1:
        return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.1f} ms"
    return f"{seconds:.3f} s" if seconds < 100 else f"{seconds:.0f} s"


def _share(value: float | None) -> str:
    return f"{value:.1%}" if is_known(value) else "-"


def _giga(count: float | None) -> str:
    if not is_known(count):
        return "-"
    return f"{count / 1e9:.0f}" if count >= 1e11 else f"{count / 1e9:.3g}"


def _millions(count: int | None) -> str:
    return f"{count / 1e6:.2f} M" if is_known(count) and count > 0 else "-"


def _bytes(count: int | None) -> str:
    if not is_known(count):
        return "-"
    if count < 100 * 2**20:
        return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.0f} MiB" if count < 10000 * 2**20 else f"{count / 2**30:.1f} GiB"


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "~"
