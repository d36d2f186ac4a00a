"""What the page's plots share. Named colours are roles: page.js puts the theme's in their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.report.html.wording import for_plot, short

# Roles, of which style.css holds the colours for each theme (Okabe and Ito's palette).
INK, MUTED, RULE, PAPER = "black", "gray", "silver", "white"
BLUE, ORANGE, GREEN, RED = "blue", "orange", "green", "red"

SHAPES = {PASSED: "circle", FAILED: "x", INCONCLUSIVE: "diamond-open"}
COLOURS = {PASSED: GREEN, FAILED: RED, INCONCLUSIVE: ORANGE}

_FINE = (1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)
_ROW, _FRAME = 46, 150  # pixels of a case's row, and of everything around the rows
# Ticks of a ratio, by how far the values lie apart: (least, most, ticks).
_RATIOS = (
    (0.9, 1.11, (0.9, 0.92, 0.94, 0.96, 0.98, 1, 1.02, 1.04, 1.06, 1.08, 1.1)),
    (0.65, 1.6, (0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5)),
    (0.3, 3.3, (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3)),
    (0.0, math.inf, (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 100)),
)


@dataclass(frozen=True)
class Plot:
    """One plot, with its caption and its figures as a table for whoever does not see it."""

    name: str
    title: str
    says: str
    figure: dict[str, Any]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.figure["layout"]["height"]


def finish(figure: go.Figure, *, height: int) -> dict[str, Any]:
    """Plain values for plotly.js, in the page's manner: no zoom that would catch a scrolling."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 13},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        hoverlabel={
            "bgcolor": PAPER,
            "bordercolor": MUTED,
            "font": {"color": INK},
            "align": "left",
        },
        dragmode=False,
        hovermode="closest",
    )
    axis = {
        "automargin": True,
        "gridcolor": RULE,
        "zeroline": False,
        "linecolor": MUTED,
        "fixedrange": True,
        "title": {"font": {"size": 13}},
    }
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    return figure.to_plotly_json()


def rows_height(count: int) -> int:
    """Pixels of a plot with a row for each case."""
    return _FRAME + _ROW * count


def row_axis(labels: Sequence[str]) -> dict[str, Any]:
    """A vertical axis on which the i-th case is at i, the first on top."""
    return {
        "tickvals": list(range(len(labels))),
        "ticktext": [row_label(label) for label in labels],
        "range": [len(labels) - 0.4, -0.6],
        "showgrid": False,
    }


def row_label(label: str) -> str:
    """The variant, under it the group, smaller."""
    group, _, variant = label.partition("/")
    if not variant:
        return for_plot(short(label, 20))
    lower = f"<br><span style='font-size:11px'>{for_plot(short(group, 20))}</span>"
    return for_plot(short(variant, 20)) + lower


def spread(row: int, count: int) -> list[float]:
    """Heights of a row's points, in the order in which they were measured, the first on top."""
    if count < 2:
        return [float(row)] * count
    return [row + 0.36 * (2 * index / (count - 1) - 1) for index in range(count)]


def ratio_axis(values: Iterable[float]) -> dict[str, Any]:
    """A logarithmic axis of ratios around 1."""
    low, high = _bounds([*values, 1.0], 1.03)
    ticks = next(ticks for least, most, ticks in _RATIOS if least <= low and high <= most)
    return _log_axis([one for one in ticks if low <= one <= high], low, high, "×{:g}".format)


def seconds_axis(values: Iterable[float]) -> dict[str, Any]:
    """A logarithmic axis of seconds, with the ticks that fit."""
    low, high = _bounds(values, 1.08)
    wide = high / low
    steps: tuple[float, ...] = (1, 2, 5)
    if wide < 8:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if wide > 2 else (1, *_FINE)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    if wide > 1000:
        ticks = [10.0**power for power in range(first, last + 1)]
    return _log_axis([one for one in ticks if low <= one <= high], low, high, _brief)


def _bounds(values: Iterable[float], room: float) -> tuple[float, float]:
    values = list(values)
    return min(values) / room, max(values) * room


def _log_axis(
    ticks: Sequence[float], low: float, high: float, words: Callable[[float], str]
) -> dict[str, Any]:
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": list(ticks),
        "ticktext": [words(one) for one in ticks],
        "tickangle": 0,
    }


def _brief(value: float) -> str:
    return f"{value * 1000:.4g} ms" if value < 0.1 else f"{value:.4g} s"
