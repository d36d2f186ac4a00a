"""The gates: pure functions from numbers to verdicts. NaN never passes.

Every comparison is written so that it holds for a pass (`value >= limit`): a comparison with NaN is
False, and False fails. `inconclusive` means that there was nothing to hold the numbers against, or
nothing was measured; it is shown and counted, and is not a pass.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.gates.stored_bounds import (
    NONE_STORED,
    BoundCheck,
    change,
    compare_latency,
    percent,
    why_unlike,
)
from latentcy.store.baselines import StoredBaseline, is_seconds
from latentcy.store.published_tables import PublishedRow


@dataclass(frozen=True)
class LatencyMeasurement:
    """What was measured of one case, and what it hangs on.

    Attributes:
        rounds: seconds of each timed generation.
        fingerprint: a stored baseline that differs in what must agree is not compared.
        versions: changes since the newest stored run are named.
        yardstick_seconds: around this measurement; None where it was not timed.
        marks: what may have disturbed the measurement, as `Conditions.marks()` puts it.
        speedup: over the reference, where one was measured.
        device_name: as the driver names it.
        model: the model's name.
    """

    rounds: Sequence[float]
    fingerprint: Mapping[str, str] | None = None
    versions: Mapping[str, str] | None = None
    yardstick_seconds: float | None = None
    marks: Sequence[str] = ()
    speedup: float | None = None
    device_name: str = ""
    model: str = ""


def latency_verdict(
    measured: LatencyMeasurement,
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    published: PublishedRow | None = None,
) -> Verdict:
    """Is the median latency within what each baseline allows that may be held against it?

    Stored runs allow what `latentcy.gates.stored_bounds.compare_latency` says, a published row
    (1 + tolerance) times its own.

    Args:
        measured: of the case.
        stored: runs of this device and case, or None.
        tolerance: fraction by which the latency may exceed a baseline, and the speed-up fall short.
        published: row for this group and variant; it binds only on an A100 with the row's model.

    Returns:
        failed when any baseline that binds is not kept, or a round is no time at all; inconclusive
        when none binds, or the rounds are all the same, which no clock gives.
    """
    on_its_device = "A100" in measured.device_name
    status, reason = _judge_latency(
        measured, stored, tolerance, published if on_its_device else None
    )
    compared = status != INCONCLUSIVE
    marks = measured.marks
    disturbed = f"; measured while {' and '.join(marks)}" if marks and compared else ""
    return Verdict("latency", status, reason + disturbed)


def _judge_latency(
    measured: LatencyMeasurement,
    stored: StoredBaseline | None,
    tolerance: float,
    published: PublishedRow | None,
) -> tuple[str, str]:
    """Status and reason of a latency."""
    rounds = [float(seconds) for seconds in measured.rounds]
    unfit = _unfit(rounds)
    if unfit is not None:
        return unfit
    if not (math.isfinite(tolerance) and tolerance >= 0):
        return FAILED, f"the latency tolerance is {tolerance}, which allows nothing"
    seconds = statistics.median(rounds)
    why_not = NONE_STORED
    held: list[BoundCheck] = []
    if stored is not None:
        unlike = why_unlike(stored, measured.fingerprint)
        why_not = unlike or why_not
        if not unlike:
            check = compare_latency(
                seconds,
                stored,
                tolerance,
                yardstick_seconds=measured.yardstick_seconds,
                versions=measured.versions,
            )
            held.append(check)
    if published is not None and measured.model == published.model:
        if published.differs:
            why_not += f"; the published {published.seconds:.4g} s is of another setup: "
            why_not += published.differs
        else:
            held += _compare_published(seconds, published, tolerance, measured.speedup)
    broken = [one for one in held if not one.kept]
    if not held:
        return INCONCLUSIVE, why_not
    words = "; ".join(one.words for one in broken or held)
    return (FAILED if broken else PASSED), f"{seconds:.4g} s: {words}"


def _compare_published(
    seconds: float, row: PublishedRow, tolerance: float, speedup: float | None
) -> list[BoundCheck]:
    """A latency and its speed-up over the reference against a published row."""
    slower = BoundCheck(
        seconds <= row.seconds * (1 + tolerance),
        f"{change(seconds / row.seconds)} than the published {row.seconds:.4g} s "
        f"({percent(tolerance)} slower allowed)",
    )
    if speedup is None and row.variant == "baseline":
        return [slower]
    if speedup is None:
        unknown = "speed-up not judged, as the reference was not measured"
        return [slower, BoundCheck(True, unknown)]
    floor = row.speedup * (1 - tolerance)
    gained = BoundCheck(
        speedup >= floor,
        f"speed-up {speedup:.3g} against the published {row.speedup:.3g} (at least {floor:.3g})",
    )
    return [slower, gained]


def _unfit(rounds: Sequence[float]) -> tuple[str, str] | None:
    """Status and reason of rounds that no latency can be read from; None for sound ones."""
    if not rounds:
        return INCONCLUSIVE, "no round was timed"
    for number, seconds in enumerate(rounds, 1):
        if not is_seconds(seconds):
            return FAILED, f"round {number} of {len(rounds)} took {seconds} s, which is no latency"
    if len(rounds) >= 3 and len(set(rounds)) == 1:
        same = f"all {len(rounds)} rounds took exactly {rounds[0]} s"
        return INCONCLUSIVE, f"{same}, so the clock is too coarse or stands still"
    return None
