"""Where time and memory go, and speed against quality, as plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from latentcy.core.costs import STAGES
from latentcy.core.record import Record
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.report.html.plot import (
    BLUE,
    COLOURS,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    SHAPES,
    Plot,
    finish,
    ratio_axis,
    row_axis,
    rows_height,
)
from latentcy.report.html.wording import for_plot, number, seconds, short, size, sound

_STAGE_LOOKS = ((ORANGE, ""), (BLUE, "/"), (GREEN, "."))
_MIB = 2**20
_LABELLED = 8  # points of one plot that get their name beside them, where none is in the way

_BOTH = Sequence[tuple[str, Record]]


def quality_plots(records: Sequence[Record], labels: Sequence[str]) -> list[Plot]:
    """Speed-up against SSIM and against CLIP, a point a case, where both were measured."""
    named = list(zip(labels, records, strict=True))
    kinds = (
        ("ssim", "SSIM to the reference", "{:.4f}", "1 is the same image."),
        ("clip", "CLIP score", "{:.2f}", "Higher follows the prompt better."),
    )
    plots = []
    for name, title, pattern, hint in kinds:
        points = [
            (label, one)
            for label, one in named
            if sound(one.speedup) and one.speedup > 0 and sound(getattr(one, name))
        ]
        if points:
            plots.append(_quality_plot(points, name, title, pattern, hint))
    return plots


def stage_plot(records: Sequence[Record], labels: Sequence[str]) -> Plot | None:
    """Seconds of each stage, stacked, a bar a case; None where no stage was timed."""
    named = [(label, one) for label, one in zip(labels, records, strict=True) if stages(one)]
    if not named:
        return None
    figure = go.Figure()
    for stage, (colour, pattern) in zip(STAGES, _STAGE_LOOKS, strict=True):
        figure.add_bar(
            x=[stages(one).get(stage, 0.0) for _, one in named],
            y=list(range(len(named))),
            orientation="h",
            width=0.6,
            name=stage.replace("_", " "),
            marker={
                "color": colour,
                "pattern": {
                    "shape": pattern,
                    "fillmode": "overlay",
                    "fgcolor": PAPER,
                    "fgopacity": 0.4,
                    "solidity": 0.2,
                    "size": 7,
                },
            },
            hovertemplate="%{x:.4g} s<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title={"text": "seconds of one warm generation"}, rangemode="tozero")
    figure.update_yaxes(**row_axis([label for label, _ in named]))
    return Plot(
        name="stages",
        title="Stages of the time",
        says="Seconds of text encoding, denoising and decoding in one warm generation.",
        figure=finish(figure, height=rows_height(len(named))),
        head=("case", *(one.replace("_", " ") for one in STAGES), "loading", "first call"),
        rows=tuple(
            (
                label,
                *(seconds(stages(one).get(stage)) for stage in STAGES),
                seconds(one.costs.calls.load_seconds if one.costs else None),
                seconds(one.costs.calls.first_seconds if one.costs else None),
            )
            for label, one in named
        ),
    )


def memory_plot(records: Sequence[Record], labels: Sequence[str]) -> Plot | None:
    """Peak memory, a bar a case, with its weights and what was reserved; None without a peak."""
    named = [
        (label, one)
        for label, one in zip(labels, records, strict=True)
        if sound(one.peak_bytes) and one.peak_bytes > 0
    ]
    if not named:
        return None
    figure = go.Figure()
    figure.add_bar(
        x=[(one.peak_bytes or 0) / _MIB for _, one in named],
        y=list(range(len(named))),
        orientation="h",
        width=0.6,
        name="peak",
        marker={"color": BLUE},
        hovertemplate="%{x:.0f} MiB at the peak<extra></extra>",
    )
    marks = (("weights", weights, "diamond"), ("reserved", _reserved, "square-open"))
    for name, read, symbol in marks:
        known = [(row, read(one)) for row, (_, one) in enumerate(named) if read(one)]
        if known:
            figure.add_scatter(
                x=[(value or 0) / _MIB for _, value in known],
                y=[row for row, _ in known],
                name=name,
                mode="markers",
                marker={
                    "color": ORANGE if name == "weights" else INK,
                    "size": 11,
                    "symbol": symbol,
                    "line": {"width": 1.5, "color": INK},
                },
                hovertemplate=f"%{{x:.1f}} MiB {name}<extra></extra>",
            )
    figure.update_xaxes(title={"text": "MiB"}, rangemode="tozero")
    figure.update_yaxes(**row_axis([label for label, _ in named]))
    return Plot(
        name="memory",
        title="Memory",
        says=(
            "Peak memory of one generation: what torch's allocator had handed out on a GPU, the "
            "resident set of the process on a CPU."
        ),
        figure=finish(figure, height=rows_height(len(named))),
        head=("case", "peak", "weights", "reserved at the peak"),
        rows=tuple(
            (label, size(one.peak_bytes), size(weights(one)), size(_reserved(one)))
            for label, one in named
        ),
    )


def stages(record: Record) -> Mapping[str, float]:
    """Seconds of each stage that was timed."""
    found = (record.costs.stages if record.costs else None) or record.stages or {}
    return {name: one for name, one in found.items() if name in STAGES and sound(one) and one >= 0}


def weights(record: Record) -> int | None:
    """Bytes of all components; None where they were not counted."""
    return sum(part.bytes for part in record.costs.components) or None if record.costs else None


def _reserved(record: Record) -> int | None:
    found = (
        record.costs.memory.peak_reserved_bytes if record.costs and record.costs.memory else None
    )
    return int(found) if sound(found) else None


def _quality_plot(points: _BOTH, name: str, title: str, pattern: str, hint: str) -> Plot:
    figure = go.Figure()
    values = [getattr(one, name) for _, one in points]
    named = _point_names(points)
    places = _text_places(points, named, name)
    for status in (PASSED, INCONCLUSIVE, FAILED):
        mine = [index for index, (_, one) in enumerate(points) if one.status == status]
        if not mine:
            continue
        figure.add_scatter(
            x=[points[index][1].speedup for index in mine],
            y=[values[index] for index in mine],
            customdata=[for_plot(short(points[index][0], 60)) for index in mine],
            text=[
                f"\u2002{for_plot(named[index])}\u2002" if places[index] else "" for index in mine
            ],
            textposition=[places[index] or "top center" for index in mine],
            cliponaxis=False,
            name={PASSED: "passed", FAILED: "failed", INCONCLUSIVE: "not fully judged"}[status],
            mode="markers+text",
            marker={
                "color": COLOURS[status],
                "size": 11,
                "symbol": SHAPES[status],
                "line": {"width": 2 if status == INCONCLUSIVE else 1, "color": INK},
            },
            hovertemplate=f"%{{customdata}}<br>×%{{x:.3f}}, {title} %{{y:.4f}}<extra></extra>",
        )
    figure.add_vline(x=1, line={"color": MUTED, "width": 1.5})
    figure.update_xaxes(
        title={"text": "speed-up over the reference"},
        **ratio_axis([one.speedup or 1.0 for _, one in points]),
    )
    room = max((max(values) - min(values)) * 0.16, abs(max(values)) * 0.002, 1e-4)
    figure.update_yaxes(title={"text": title}, range=[min(values) - room, max(values) + room])
    return Plot(
        name=f"quality-{name}",
        title=title,
        says=f"Right is faster, up is better. {hint}",
        figure=finish(figure, height=420),
        head=("case", "speed-up", title, "verdict"),
        rows=tuple(
            (
                label,
                number(one.speedup, "×{:.2f}"),
                number(getattr(one, name), pattern),
                "passed" if one.status == PASSED else one.status,
            )
            for label, one in points
        ),
    )


def _point_names(points: _BOTH) -> list[str]:
    """The variant, or the whole label where two points have the same."""
    variants = [one.variant for _, one in points]
    names = (one.variant if variants.count(one.variant) == 1 else label for label, one in points)
    return [short(one, 24) for one in names]


def _text_places(points: _BOTH, named: Sequence[str], name: str) -> list[str]:
    """Where a point's name stands; "" where something is in the way. Failures come first.

    A name's box is reckoned in shares of the plot: a letter is about 0.022 wide, a line 0.07 high.
    """
    across = _shares([math.log(one.speedup or 1.0) for _, one in points])
    up = _shares([getattr(one, name) for _, one in points])
    taken: list[tuple[float, float, float]] = []  # left, right, height
    places = [""] * len(points)
    failed = [one.status == FAILED for _, one in points]
    for index in sorted(range(len(points)), key=lambda one: (not failed[one], -up[one])):
        x, y = across[index], up[index]
        wide = 0.03 + 0.022 * len(named[index])
        left, right = (x - wide, x) if x > 0.5 else (x, x + wide)
        others = [one for one in range(len(points)) if one != index]
        free = all(
            abs(up[one] - y) > 0.05 or not left - 0.02 < across[one] < right + 0.02
            for one in others
        ) and all(abs(v - y) > 0.07 or left > end or right < start for start, end, v in taken)
        if free and len(taken) < _LABELLED:
            taken.append((left, right, y))
            places[index] = "middle left" if x > 0.5 else "middle right"
    return places


def _shares(values: Sequence[float]) -> list[float]:
    """0 for the least, 1 for the largest."""
    low, high = min(values), max(values)
    return [(one - low) / (high - low) if high > low else 0.5 for one in values]
