"""Changes in a series: when, by how much, how sure, between which commits and versions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentcy.stats.changepoint_location import place_bounds
from latentcy.stats.changepoint_size import level_ratio
from latentcy.stats.changepoints import ALPHA, correlation_inflation, find_splits, spikes
from latentcy.store.history.directions import HIGHER, LOWER, better
from latentcy.store.history.rows import Environment, Point, Series

LEAST = 0.001  # share: smaller changes of level are found, and are nobody's business

# In an environment, but no cause of a change: the machine's name among equal machines.
_NO_CAUSE = ("host",)


@dataclass(frozen=True)
class Change:
    """A change of level in one series, on one machine.

    Attributes:
        index: of the first run after it, in the series' points.
        earliest, latest: where `index` may be as well, with 95 % confidence.
        before, after: medians of the levels, in the metric's unit.
        ratio: after over before, by Hodges-Lehmann; NaN where a level is zero.
        low, high: its bounds, 95 % confidence.
        p: chance that a series of this length without any change shows one as marked.
        run_before, run_after, commit_before, commit_after: the last run of the old level and the
            first of the new one, where it most likely is.
        versions_changed: "torch 2.12.0 -> 2.13.0", between the runs `earliest` - 1 and `latest`.
        fingerprint: the machine.
        worse: for the worse; None where it is not known which way is better.
    """

    case: str
    metric: str
    index: int
    earliest: int
    latest: int
    before: float
    after: float
    ratio: float
    low: float
    high: float
    p: float
    run_before: str
    run_after: str
    commit_before: str
    commit_after: str
    versions_changed: tuple[str, ...]
    fingerprint: str
    worse: bool | None


@dataclass(frozen=True)
class NewMachine:
    """A series that begins anew: the run `index` is the first one with this fingerprint."""

    case: str
    metric: str
    index: int
    run: str
    commit: str
    fingerprint_before: str
    fingerprint: str


def find_changes(
    series: Series, *, alpha: float = ALPHA, least: float = LEAST
) -> tuple[Change, ...]:
    """Every change of level, machine by machine, in order of time.

    Each machine (fingerprint) has a series of its own, also where runs of several alternate.
    Numbers that are none (NaN) are left out.

    Args:
        series: oldest first.
        alpha: chance of any change found on a machine where nothing changes.
        least: share by which a level must change.
    """
    found = []
    for indices in _by_machine(series.points).values():
        found += _on_one_machine(series, indices, alpha=alpha, least=least)
    return tuple(sorted(found, key=lambda one: one.index))


def new_machines(series: Series) -> tuple[NewMachine, ...]:
    """Where runs on another machine begin, so that numbers are not compared across."""
    firsts = sorted(indices[0] for indices in _by_machine(series.points).values())
    return tuple(
        NewMachine(
            case=series.case,
            metric=series.metric,
            index=index,
            run=series.points[index].run,
            commit=series.points[index].commit,
            fingerprint_before=series.points[index - 1].environment.fingerprint,
            fingerprint=series.points[index].environment.fingerprint,
        )
        for index in firsts[1:]
    )


def _by_machine(points: Sequence[Point]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        if math.isfinite(point.value):
            found.setdefault(point.environment.fingerprint, []).append(index)
    return found


def _on_one_machine(
    series: Series, indices: Sequence[int], *, alpha: float, least: float
) -> list[Change]:
    values = np.array([series.points[index].value for index in indices], float)
    splits = find_splits(values, alpha)
    clean = np.flatnonzero(~spikes(values))
    inflation = correlation_inflation(values[clean])
    edges = [0, *(split.index for split in splits), values.size]
    found = []
    for number, split in enumerate(splits):
        low, high = edges[number], edges[number + 2]
        left = values[clean[(clean >= low) & (clean < split.index)]]
        right = values[clean[(clean >= split.index) & (clean < high)]]
        size = level_ratio(left, right, inflation)
        if abs(float(np.median(right)) - float(np.median(left))) < least * abs(np.median(left)):
            continue
        earliest, latest = place_bounds(values[low:high], split.index - low, inflation)
        found.append(
            _change(
                series,
                indices,
                (low + earliest, split.index, low + latest),
                levels=(float(np.median(left)), float(np.median(right))),
                size=size,
                p=split.p,
            )
        )
    return found


def _change(
    series: Series,
    indices: Sequence[int],
    place: tuple[int, int, int],
    *,
    levels: tuple[float, float],
    size: tuple[float, float, float],
    p: float,
) -> Change:
    earliest, split, latest = place
    last, first = series.points[indices[split - 1]], series.points[indices[split]]
    window = [series.points[one].environment for one in indices[earliest - 1 : latest + 1]]
    return Change(
        case=series.case,
        metric=series.metric,
        index=indices[split],
        earliest=indices[earliest],
        latest=indices[latest],
        before=levels[0],
        after=levels[1],
        ratio=size[0],
        low=size[1],
        high=size[2],
        p=p,
        run_before=last.run,
        run_after=first.run,
        commit_before=last.commit,
        commit_after=first.commit,
        versions_changed=_versions_changed(window),
        fingerprint=first.environment.fingerprint,
        worse=_worse(series, levels),
    )


def _worse(series: Series, levels: tuple[float, float]) -> bool | None:
    before, after = levels
    return {LOWER: after > before, HIGHER: after < before}.get(
        better(series.metric, series.unit) or ""
    )


def _versions_changed(window: Sequence[Environment]) -> tuple[str, ...]:
    """Every value that differs from one run to the next within the window."""
    found: dict[str, None] = {}
    for before, now in itertools.pairwise(window):
        for line in _differences(before.values, now.values):
            found[line] = None
    return tuple(found)


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name) and name not in _NO_CAUSE
    ]
