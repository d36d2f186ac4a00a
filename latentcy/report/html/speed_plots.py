"""Latency as plots: every pair's ratio to its reference, and every round's seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypeGuard

import plotly.graph_objects as go

from latentcy.core.record import Record
from latentcy.report.html.plot import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    RED,
    Plot,
    finish,
    ratio_axis,
    row_axis,
    rows_height,
    seconds_axis,
    spread,
)
from latentcy.report.html.wording import NONE, for_plot, number, seconds, short, sound

MOST = 400  # points that a row shows

_BOTH = Sequence[tuple[str, Record]]


def speed_plots(records: Sequence[Record], labels: Sequence[str]) -> list[Plot]:
    """Ratios to the reference, then seconds; each only where something was measured."""
    named = list(zip(labels, records, strict=True))
    paired = [one for one in named if ratios(one[1])]
    timed = [one for one in named if _rounds(one[1])]
    return ([_ratio_plot(paired)] if paired else []) + ([_seconds_plot(timed)] if timed else [])


def ratios(record: Record) -> list[float]:
    """Seconds of the case over those of its reference, of each pair that has both."""
    if record.pairs is None:
        return []
    both = zip(record.pairs.reference, record.pairs.candidate, strict=False)
    return [own / other for other, own in both if _time(own) and _time(other)]


def _ratio_plot(named: _BOTH) -> Plot:
    figure = go.Figure()
    ratio, kept, published, allowed, every = ([] for _ in range(5))
    for row, (_, record) in enumerate(named):
        values = ratios(record)
        step = max(len(values) // MOST, 1)
        ratio.append((values[::step], spread(row, len(values[::step]))))
        every += values
        one = record.comparison
        if one is not None and _time(one.ratio) and _time(one.low) and _time(one.high):
            kept.append((row, one.ratio, one.low, one.high, one.size))
            every += [one.low, one.high]
        if one is not None and sound(one.tolerance) and one.tolerance >= 0:
            allowed.append((row, 1 + one.tolerance))
        if _time(record.published_speedup):
            published.append((row, 1 / record.published_speedup))
    every += [value for _, value in (*published, *allowed)]
    figure.add_scatter(
        x=[x for xs, _ in ratio for x in xs],
        y=[y for _, ys in ratio for y in ys],
        name="one pair",
        mode="markers",
        marker={"color": BLUE, "size": 6, "opacity": 0.55},
        hovertemplate="×%{x:.4f} of the reference's time<extra></extra>",
    )
    figure.add_scatter(
        x=[one[1] for one in kept],
        y=[one[0] for one in kept],
        customdata=[for_plot(one[4]) for one in kept],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [one[3] - one[1] for one in kept],
            "arrayminus": [one[1] - one[2] for one in kept],
            "color": INK,
            "thickness": 2,
            "width": 6,
        },
        name="estimate and interval",
        mode="markers",
        marker={"color": INK, "size": 10, "symbol": "diamond"},
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.add_scatter(
        x=[one[1] for one in allowed],
        y=[one[0] for one in allowed],
        name="slowest allowed",
        mode="markers",
        marker={"color": RED, "size": 20, "symbol": "line-ns-open", "line": {"width": 2}},
        hovertemplate="×%{x:.4g} is the slowest allowed<extra></extra>",
    )
    _star(figure, published, "published (A100)", "×%{x:.3f} published for an A100<extra></extra>")
    figure.add_vline(x=1, line={"color": MUTED, "width": 1.5})
    figure.update_xaxes(title={"text": "multiple of the reference's time"}, **ratio_axis(every))
    figure.update_yaxes(**row_axis([label for label, _ in named]))
    return Plot(
        name="ratio",
        title="Against the reference",
        says=(
            "Each dot is one pair: the case and its reference, timed next to each other. The line "
            "at ×1 is the reference; left of it is faster. In a row the first pair is on top."
        ),
        figure=finish(figure, height=rows_height(len(named))),
        head=("case", "reference", "pairs", "result", "slower allowed", "A100 published"),
        rows=tuple(_ratio_row(label, record) for label, record in named),
    )


def _ratio_row(label: str, record: Record) -> tuple[str, ...]:
    one = record.comparison
    return (
        label,
        record.paired_with or NONE,
        str(len(ratios(record))),
        (one.nothing or one.size) if one is not None else NONE,
        number(one.tolerance, "{:.2%}") if one is not None else NONE,
        number(record.published_speedup, "×{:.2f} speed-up"),
    )


def _seconds_plot(named: _BOTH) -> Plot:
    figure = go.Figure()
    points, medians, others, published = ([] for _ in range(4))
    for row, (_, record) in enumerate(named):
        values = _rounds(record)
        step = max(len(values) // MOST, 1)
        points.append((values[::step], spread(row, len(values[::step]))))
        medians.append((row, statistics.median(values)))
        reference = _reference(record)
        if reference:
            others.append((row, statistics.median(reference)))
        if _time(record.published_seconds):
            published.append((row, record.published_seconds))
    every = [x for xs, _ in points for x in xs]
    every += [value for _, value in (*others, *published)]
    figure.add_scatter(
        x=[x for xs, _ in points for x in xs],
        y=[y for _, ys in points for y in ys],
        name="one generation",
        mode="markers",
        marker={"color": BLUE, "size": 6, "opacity": 0.55},
        hovertemplate="%{x:.4g} s<extra></extra>",
    )
    figure.add_scatter(
        x=[one[1] for one in medians],
        y=[one[0] for one in medians],
        name="median",
        mode="markers",
        marker={"color": INK, "size": 10, "symbol": "diamond"},
        hovertemplate="median %{x:.4g} s<extra></extra>",
    )
    figure.add_scatter(
        x=[one[1] for one in others],
        y=[one[0] for one in others],
        name="the reference's median",
        mode="markers",
        marker={"color": INK, "size": 22, "symbol": "line-ns-open", "line": {"width": 2}},
        hovertemplate="the reference's median %{x:.4g} s<extra></extra>",
    )
    _star(figure, published, "published (A100)", "%{x:.4g} s published for an A100<extra></extra>")
    figure.update_xaxes(title={"text": "seconds of one generation"}, **seconds_axis(every))
    figure.update_yaxes(**row_axis([label for label, _ in named]))
    return Plot(
        name="seconds",
        title="In seconds",
        says=(
            "Each dot is one generation. Published figures are an A100's with Stable Diffusion "
            "v1.x, whatever ran here."
        ),
        figure=finish(figure, height=rows_height(len(named))),
        head=("case", "median", "fastest", "slowest", "rounds", "reference", "A100 published"),
        rows=tuple(_seconds_row(label, record) for label, record in named),
    )


def _seconds_row(label: str, record: Record) -> tuple[str, ...]:
    values, reference = _rounds(record), _reference(record)
    return (
        label,
        seconds(statistics.median(values)),
        seconds(min(values)),
        seconds(max(values)),
        str(len(values)),
        f"{seconds(statistics.median(reference))} ({short(record.paired_with or 'reference', 40)})"
        if reference
        else NONE,
        seconds(record.published_seconds),
    )


def _star(figure: go.Figure, points: Sequence[tuple[int, float]], name: str, template: str) -> None:
    if points:
        figure.add_scatter(
            x=[x for _, x in points],
            y=[row for row, _ in points],
            name=name,
            mode="markers",
            marker={
                "color": ORANGE,
                "size": 13,
                "symbol": "star",
                "line": {"width": 1, "color": INK},
            },
            hovertemplate=template,
        )


def _rounds(record: Record) -> list[float]:
    values = [value for value in record.rounds if _time(value)]
    if not values and record.pairs is not None:
        values = [value for value in record.pairs.candidate if _time(value)]
    return values or ([record.seconds] if _time(record.seconds) else [])


def _reference(record: Record) -> list[float]:
    return [one for one in record.pairs.reference if _time(one)] if record.pairs else []


def _time(value: object) -> TypeGuard[float]:
    return sound(value) and value > 0
