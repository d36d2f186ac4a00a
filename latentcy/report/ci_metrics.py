"""A run's figures in the formats of two services that chart them over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latentcy.core.record import Record


@dataclass(frozen=True)
class Figure:
    """One number of a case; `bytes` and `seconds` are smaller where they are better."""

    name: str
    unit: str
    smaller_is_better: bool
    read: Callable[[Record], float | None]


FIGURES = (
    Figure("latency", "seconds", True, lambda one: one.seconds),
    Figure("peak memory", "bytes", True, lambda one: one.peak_bytes),
    Figure("speed-up", "ratio", False, lambda one: one.speedup),
    Figure("CLIP", "score", False, lambda one: one.clip),
    Figure("SSIM", "score", False, lambda one: one.ssim),
)


def smaller_is_better(records: Sequence[Record]) -> list[dict[str, Any]]:
    """`customSmallerIsBetter` of github-action-benchmark: name, unit, value, range, extra.

    Source: that action's README, "Examples", its custom JSON format. Only figures that are better
    when smaller are in it. The range of a latency is its quartile deviation.
    """
    return [
        {
            "name": f"{one.case} {figure.name}",
            "unit": figure.unit,
            "value": value,
            "extra": one.changes,
            **_range(one, figure),
        }
        for one in records
        for figure in FIGURES
        if figure.smaller_is_better and (value := _sound(figure.read(one))) is not None
    ]


def bencher_metrics(records: Sequence[Record]) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: benchmark name -> measure -> value, with bounds where they are known.

    Source: Bencher's documentation, "Bencher Metric Format". A latency's bounds are the least and
    the most of its rounds.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in records:
        for figure in FIGURES:
            value = _sound(figure.read(one))
            if value is None:
                continue
            metric = {"value": value}
            rounds = [each for each in one.rounds if math.isfinite(each)]
            if figure.name == "latency" and rounds:
                metric |= {"lower_value": min(rounds), "upper_value": max(rounds)}
            found.setdefault(one.case, {})[figure.name.replace(" ", "-").lower()] = metric
    return found


def figures(record: Record) -> dict[str, float]:
    """The record's numbers by name and unit, as "latency (seconds)"."""
    known = {f"{one.name} ({one.unit})": _sound(one.read(record)) for one in FIGURES}
    return {name: value for name, value in known.items() if value is not None}


def _range(record: Record, figure: Figure) -> dict[str, str]:
    rounds = sorted(each for each in record.rounds if math.isfinite(each))
    if figure.name != "latency" or len(rounds) < 4:
        return {}
    quarter = len(rounds) // 4
    return {"range": f"± {(rounds[-1 - quarter] - rounds[quarter]) / 2:.4g}"}


def _sound(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
