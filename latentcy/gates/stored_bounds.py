"""A measurement held against the stored runs of its case: the bound, the drift, what changed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentcy.stats.prediction_bound import prediction_bound
from latentcy.store.baselines import StoredBaseline, StoredRun, changes, differences, is_seconds

# From how many past runs on their own spread sets the bound, and how sure that bound is.
ENOUGH_RUNS = 10
CONFIDENCE = 0.99

# A yardstick runs on these; where one of them changed, its seconds tell the machine from the
# pipeline no longer, and dividing by them would hide what the change did to both.
YARDSTICK_RESTS_ON = ("torch", "cuda", "cudnn", "driver")

# Logarithms closer than this are one and the same time, up to rounding.
_SAME = 1e-9


@dataclass(frozen=True)
class BoundCheck:
    """Whether a measurement keeps to what is stored, and the words for it."""

    kept: bool
    words: str


def compare_latency(
    seconds: float,
    stored: StoredBaseline,
    tolerance: float,
    *,
    yardstick_seconds: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> BoundCheck:
    """Is a latency within what the stored runs allow?

    With `ENOUGH_RUNS` the bound is the one-sided prediction bound for one more run, on log
    seconds; with fewer, or runs that are all the same, it is the tolerance over their median.
    Where this run and every stored one have a yardstick, and it ran on the same versions, the
    times are compared in yardsticks, which takes the machine's own drift out.

    Args:
        seconds: median of one generation, positive.
        stored: runs of the same case and fingerprint.
        tolerance: fraction by which the median of the stored runs may be exceeded.
        yardstick_seconds: around this measurement.
        versions: of this measurement; what changed since the newest stored run is named.
    """
    runs = stored.runs
    why_raw = _why_raw(runs, yardstick_seconds, versions)
    yardstick = 1.0 if why_raw or yardstick_seconds is None else yardstick_seconds
    past = [run.seconds / (1.0 if why_raw else run.yardstick_seconds or 1.0) for run in runs]
    allowed, rule = _allowed(past, tolerance)
    share = seconds / yardstick / statistics.median(past)
    usual = statistics.median(run.seconds for run in runs)
    words = [f"{change(seconds / usual)} than the {usual:.4g} s stored {_when(runs)} ({rule})"]
    if why_raw:
        words.append(f"in raw seconds, {why_raw}")
    else:
        machine = yardstick / statistics.median(run.yardstick_seconds or 1.0 for run in runs)
        words.append(
            f"the machine itself is {change(machine)} today by its yardstick, "
            f"the pipeline {change(share)}"
        )
    return BoundCheck(share <= allowed, "; ".join(words) + _since(stored, versions))


def compare_memory(
    peak_bytes: int,
    stored: StoredBaseline,
    tolerance: float,
    *,
    versions: Mapping[str, str] | None = None,
) -> BoundCheck | None:
    """Is a peak at most (1 + tolerance) times the largest stored one? None where none is stored."""
    runs = [run for run in stored.runs if run.peak_bytes is not None]
    if not runs:
        return None
    most = max(run.peak_bytes or 0 for run in runs)
    largest = f", the largest of {len(runs)} runs," if len(runs) > 1 else ""
    words = (
        f"{peak_bytes / 2**20:.0f} MiB against {most / 2**20:.0f} MiB stored{largest} "
        f"{_day(runs[-1])} ({percent(tolerance)} more allowed)"
    )
    return BoundCheck(peak_bytes <= most * (1 + tolerance), words + _since(stored, versions))


def change(ratio: float) -> str:
    """A ratio of times in words: "9.8% slower"."""
    return f"{abs(ratio - 1):.1%} {'slower' if ratio > 1 else 'faster'}"


def percent(share: float) -> str:
    """A share in as many digits as it needs, three at most: "10%", "2.5%"."""
    return f"{share * 100:.3g}%"


def _allowed(past: Sequence[float], tolerance: float) -> tuple[float, str]:
    """The largest ratio to the median of the past runs that passes, and the rule it comes from."""
    stated = f"{percent(tolerance)} slower allowed, the stated tolerance"
    if len(past) < ENOUGH_RUNS:
        return 1 + tolerance, f"{stated} while fewer than {ENOUGH_RUNS} runs are stored"
    logs = [math.log(value) for value in past]
    if max(logs) - min(logs) <= _SAME:
        return 1 + tolerance, f"{stated}, as all {len(past)} stored runs took the same time"
    bound = math.exp(prediction_bound(logs, confidence=CONFIDENCE))
    allowed = bound / statistics.median(past)
    rule = f"the {CONFIDENCE:.0%} prediction bound over {len(past)} stored runs"
    return allowed, f"{percent(allowed - 1)} slower allowed, {rule}"


def _why_raw(
    runs: Sequence[StoredRun],
    yardstick_seconds: float | None,
    versions: Mapping[str, str] | None,
) -> str | None:
    """Why the machine's drift cannot be taken out; None where it can."""
    if not is_seconds(yardstick_seconds):
        return "as no yardstick was timed with it"
    lacking = sum(run.yardstick_seconds is None for run in runs)
    if lacking:
        return f"as {lacking} of {len(runs)} stored runs have no yardstick"
    for run in reversed(runs if versions is not None else ()):
        unlike = changes(_rests_on(run.versions), _rests_on(versions or {}))
        if unlike:
            return f"as the yardstick itself depends on what changed ({', '.join(unlike)})"
    return None


def _rests_on(versions: Mapping[str, str]) -> dict[str, str]:
    return {name: versions[name] for name in YARDSTICK_RESTS_ON if name in versions}


def _since(stored: StoredBaseline, versions: Mapping[str, str] | None) -> str:
    changed = () if versions is None else changes(stored.newest.versions, versions)
    return f"; since then {', '.join(changed)}" if changed else ""


def _when(runs: Sequence[StoredRun]) -> str:
    """The stored runs' day; for several, that they are, and the newest one's day."""
    if len(runs) == 1:
        return _day(runs[0])
    return f"as the median of {len(runs)} runs, the latest {_day(runs[-1])}"


def _day(run: StoredRun) -> str:
    return run.recorded[:10]


NONE_STORED = "no baseline is stored for it on this device (--benchmark-record stores one)"


def why_unlike(
    stored: StoredBaseline, fingerprint: Mapping[str, str] | None, *, leaving: Sequence[str] = ()
) -> str | None:
    """Why the stored runs cannot be compared with this measurement; None where they can."""
    if fingerprint is None:
        return None
    unlike = differences(stored.fingerprint, fingerprint, leaving=leaving)
    return f"the stored baseline is of something else ({'; '.join(unlike)})" if unlike else None
