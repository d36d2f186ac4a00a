"""The trend of a metric over a case's runs, as a history gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from latentcy.report.html.plot import BLUE, INK, MUTED, RED, Plot, finish
from latentcy.report.html.wording import NONE, for_plot, number, short

LONGEST = 500  # points that a plot shows of a series, the newest
MOST = 30_000  # points in all plots together, so that a long history leaves room for the rest
_HEIGHT = 380
_SHAPES = ("circle", "square", "diamond", "triangle-up")


@dataclass(frozen=True)
class Point:
    """One run's value. `time` is ISO 8601; `value` in the series' unit."""

    time: str
    value: float
    run: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Change:
    """A change point: the point at `index` is the first after it.

    `ratio` is after over before, `confidence` of 0..1.
    """

    index: int
    ratio: float
    confidence: float


@dataclass(frozen=True)
class Series:
    """A metric of a case over time.

    Attributes:
        points: oldest first.
        changes: where the metric changed.
        machines: indexes of the points at which another machine begins.
    """

    case: str
    metric: str
    points: tuple[Point, ...]
    changes: tuple[Change, ...] = ()
    machines: tuple[int, ...] = ()
    unit: str = ""


def trend_plots(trend: Sequence[Series]) -> list[Plot]:
    """A plot for each series that has a point; those that changed lately come first."""
    shown = [one for one in trend if one.points]
    shown.sort(key=lambda one: (not one.changes, _age(one)))
    most = min(LONGEST, max(MOST // max(len(shown), 1), 1))
    return [_plot(one, index, most) for index, one in enumerate(shown)]


def _age(series: Series) -> int:
    """How many points ago it changed last."""
    return len(series.points) - max((one.index for one in series.changes), default=0)


def _plot(series: Series, index: int, most: int) -> Plot:
    first = max(len(series.points) - most, 0)
    changes = [one for one in series.changes if first <= one.index < len(series.points)]
    figure = go.Figure()
    _draw_points(figure, series, first)
    for one in changes:
        text = f"{100 * (one.ratio - 1):+.1f} %"
        _draw_mark(figure, _time(series.points[one.index]), text, RED, "dash", 1.0)
    for start in series.machines:
        if first < start < len(series.points):
            _draw_mark(figure, _time(series.points[start]), "new machine", MUTED, "dot", 0.92)
    unit = f", {series.unit}" if series.unit else ""
    figure.update_yaxes(title={"text": for_plot(short(series.metric + unit, 60))})
    figure.update_layout(showlegend=False)
    rows = tuple(_row(series, one) for one in changes)
    return Plot(
        name=f"trend-{index}",
        title=f"{series.case}: {series.metric}",
        says=_says(series, changes, most),
        figure=finish(figure, height=_HEIGHT),
        head=("first run after it", "commit", "change", "confidence"),
        rows=rows,
    )


def _draw_points(figure: go.Figure, series: Series, first: int) -> None:
    """A trace for each machine, so that no line leads from one to another."""
    starts = sorted({first, *(one for one in series.machines if first < one < len(series.points))})
    for number_, (start, end) in enumerate(
        zip(starts, [*starts[1:], len(series.points)], strict=True)
    ):
        points = series.points[start:end]
        figure.add_scatter(
            x=[_time(one) for one in points],
            y=[float(f"{one.value:.6g}") for one in points],
            customdata=[
                for_plot(f"{short(one.run, 9)} {short(one.commit, 11)}".strip()) for one in points
            ],
            mode="lines+markers",
            line={"color": BLUE, "width": 1},
            marker={"color": BLUE, "size": 6, "symbol": _SHAPES[number_ % len(_SHAPES)]},
            hovertemplate="%{y:.4g}<br>%{x}<br>%{customdata}<extra></extra>",
        )


def _draw_mark(
    figure: go.Figure, time: str, text: str, colour: str, dash: str, height: float
) -> None:
    figure.add_shape(
        type="line",
        x0=time,
        x1=time,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": colour, "dash": dash},
    )
    figure.add_annotation(
        x=time, y=height, yref="paper", text=text, showarrow=False, xanchor="left", yanchor="top",
        font={"color": INK},
    )  # fmt: skip


def _row(series: Series, change: Change) -> tuple[str, ...]:
    point = series.points[change.index]
    return (
        f"{_time(point)} {point.run}".strip(),
        point.commit or NONE,
        f"{100 * (change.ratio - 1):+.2f} %",
        number(change.confidence, "{:.2%}"),
    )


def _time(point: Point) -> str:
    """To the second, as "2026-01-31 04:05:06"."""
    return point.time[:19].replace("T", " ")


def _says(series: Series, changes: Sequence[Change], most: int) -> str:
    count = len(series.points)
    noun = "run" if count == 1 else "runs"
    said = f"{count} {noun}, {_time(series.points[0])} to {_time(series.points[-1])}"
    if count > most:
        said += f", the newest {most} shown"
    if not changes:
        if count > most and series.changes:
            return f"{said}; no change among these."
        return f"{said}; no change was found."
    noun = "change" if len(changes) == 1 else "changes"
    return f"{said}; {len(changes)} {noun} found, dashed."
