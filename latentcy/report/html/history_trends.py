"""The trend of a run's numbers: its history, with the changes in it, as the page shows them."""

from __future__ import annotations

from collections.abc import Collection

from latentcy.report.html.trend_plots import Change, Point, Series
from latentcy.store.history.changes import find_changes, new_machines
from latentcy.store.history.rows import Series as Stored
from latentcy.store.history.store import History

LAST = 500  # runs

# What a page shows over time; a history holds every number of a profile besides.
METRICS = ("latency", "speed-up", "ratio to the reference", "peak memory", "CLIP", "SSIM")


def trends(where: str, cases: Collection[str]) -> tuple[Series, ...]:
    """The series of these cases in a history, oldest run first.

    Raises LatentcyError where the history cannot be read.
    """
    with History(where, must_exist=True) as history:
        stored = history.all_series(last=LAST)
    return tuple(_shown(one) for one in stored if one.case in cases and one.metric in METRICS)


def _shown(series: Stored) -> Series:
    return Series(
        case=series.case,
        metric=series.metric,
        unit=series.unit,
        points=tuple(
            Point(one.started, one.value, run=one.run, commit=one.commit) for one in series.points
        ),
        changes=tuple(
            Change(one.index, one.ratio, confidence=1 - one.p) for one in find_changes(series)
        ),
        machines=tuple(one.index for one in new_machines(series)),
    )
