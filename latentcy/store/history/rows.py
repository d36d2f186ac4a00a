"""What goes into the history and comes out of it: runs, measurements, series."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

# Names of the metrics that a record always has; others are taken by the name they have there.
LATENCY, SPEEDUP, RATIO = "latency", "speed-up", "ratio to the reference"
MEMORY, CLIP, SSIM = "peak memory", "CLIP", "SSIM"
METRICS = (LATENCY, SPEEDUP, RATIO, MEMORY, CLIP, SSIM)


@dataclass(frozen=True)
class Environment:
    """What a number was measured on.

    Attributes:
        fingerprint: the machine in words, "device: NVIDIA A100; threads: 1"; where it differs, two
            numbers belong to two series.
        values: versions and identities by name, as text; where they differ, that is named.
    """

    fingerprint: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The values as JSON, always in the same order."""
        return json.dumps(dict(self.values), sort_keys=True)


class Measurement(NamedTuple):
    """One number of one case in one run (a tuple, since a history holds a million).

    Attributes:
        value, low, high: in `unit`; None where not known or not a number. The bounds hold the
            value with 95 % confidence or more.
        unit: "s", "bytes" or "".
        status: of the gate that judged it: passed, failed, inconclusive; "" where none did.
        environment: where it is not the run's.
    """

    case: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    status: str = ""
    environment: Environment | None = None


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        id: the same wherever the run is read from; a history holds it once.
        started: UTC, "2026-01-31T12:00:00.000000Z": texts sort as times do.
        commit, branch: "" where not known.
        source: what it was read from.
    """

    id: str
    started: str
    commit: str = ""
    branch: str = ""
    environment: Environment = Environment()
    source: str = ""


@dataclass(frozen=True)
class RunRows:
    """A run with its measurements, at most one for each case and metric."""

    run: RunRow
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class StoredRun:
    """A run in a history, with how many measurements it has there."""

    run: RunRow
    measurements: int


@dataclass(frozen=True)
class SeriesName:
    """A series, and how many runs it has a number of."""

    case: str
    metric: str
    unit: str
    runs: int


class Point(NamedTuple):
    """One run's number in a series; `value` is NaN where the run had none that is a number."""

    run: str
    started: str
    commit: str
    branch: str
    value: float
    low: float | None
    high: float | None
    status: str
    environment: Environment


@dataclass(frozen=True)
class Series:
    """All numbers of one case and metric, oldest first."""

    case: str
    metric: str
    unit: str
    points: tuple[Point, ...]


def with_id(rows: RunRows) -> RunRows:
    """Gives a run without an id one from its content and start time."""
    if rows.run.id:
        return rows
    run = rows.run
    content: list[Any] = [run.started, run.commit, run.branch, run.environment.fingerprint]
    content.append(run.environment.text)
    content += [list(one[:7]) for one in sorted(rows.measurements, key=lambda one: one[:2])]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    return replace(rows, run=replace(run, id=digest))
