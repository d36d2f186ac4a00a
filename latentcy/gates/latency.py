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
from typing import TYPE_CHECKING

from latentcy.gates.stored_bounds import (
    Held,
    change,
    compare_latency,
    compare_memory,
    percent,
)
from latentcy.store.baselines import StoredBaseline, differences, is_seconds
from latentcy.store.published_tables import PublishedRow

if TYPE_CHECKING:
    from latentcy.measure.diagnosis.investigation import Findings
    from latentcy.measure.diagnosis.overflow_origin import OverflowOrigin
    from latentcy.measure.images.health import ImageHealth

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"

NONE_STORED = "no baseline is stored for it on this device (--benchmark-record stores one)"


@dataclass(frozen=True)
class Verdict:
    """What a gate says: its name ("latency", "SSIM", "memory"); status; one sentence."""

    gate: str
    status: str  # "passed" | "failed" | "inconclusive"
    reason: str


def latency_verdict(
    rounds: Sequence[float],
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    fingerprint: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    yardstick_seconds: float | None = None,
    marks: Sequence[str] = (),
    published: PublishedRow | None = None,
    speedup: float | None = None,
    device_name: str = "",
    model: str = "",
) -> Verdict:
    """Is the median latency within what each baseline allows that may be held against it?

    Stored runs allow what `latentcy.gates.stored_bounds.compare_latency` says, a published row
    (1 + tolerance) times its own.

    Args:
        rounds: seconds of each timed generation.
        stored: runs of this device and case, or None.
        tolerance: fraction by which the latency may exceed a baseline, and the speed-up fall short.
        fingerprint: of this measurement; a stored baseline that differs in what must agree is not
            compared.
        versions: of this measurement; changes since the newest stored run are named.
        yardstick_seconds: around this measurement; None where it was not timed.
        marks: what may have disturbed the measurement, as `Conditions.marks()` puts it.
        published: row for this group and variant; it binds only on an A100 with the row's model.
        speedup: over the reference, where one was measured.
        device_name: as the driver names it.
        model: the model's name.

    Returns:
        failed when any baseline that binds is not kept, or a round is no time at all; inconclusive
        when none binds, or the rounds are all the same, which no clock gives.
    """
    status, reason = _judge_latency(
        [float(seconds) for seconds in rounds],
        stored,
        tolerance,
        fingerprint=fingerprint,
        versions=versions,
        yardstick_seconds=yardstick_seconds,
        published=published if "A100" in device_name else None,
        speedup=speedup,
        model=model,
    )
    compared = status != INCONCLUSIVE
    disturbed = f"; measured while {' and '.join(marks)}" if marks and compared else ""
    return Verdict("latency", status, reason + disturbed)


def memory_verdict(
    peak_bytes: int | None,
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    tensors: Tensors | None = None,
    fingerprint: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Verdict:
    """Is peak memory at most (1 + tolerance) times the largest stored for this device?

    And, where `tensors` are given, are they at most a quarter more than the reference's?
    """
    gate = "memory"
    if tensors is not None and not tensors.kept:
        meant = "where that is meant, the variant states memory_gated=False"
        return Verdict(gate, FAILED, f"{tensors.words}; {meant}")
    verdict = _stored_memory(peak_bytes, stored, tolerance, fingerprint, versions)
    if tensors is None or verdict.status == FAILED:
        return verdict
    return Verdict(gate, PASSED, f"{tensors.words}; {verdict.reason}")


@dataclass(frozen=True)
class Tensors:
    """Bytes of tensors that a case and its reference held at once, at the most."""

    bytes: int
    reference_bytes: int
    reference: str  # its name

    @property
    def kept(self) -> bool:
        """At most `MORE_TENSORS` more than the reference's."""
        return self.bytes <= self.reference_bytes * (1 + MORE_TENSORS)

    @property
    def words(self) -> str:
        """Both figures and what is allowed."""
        mib = 2**20
        return (
            f"tensors of {self.bytes / mib:.1f} MiB at the most against "
            f"{self.reference_bytes / mib:.1f} MiB of {self.reference} "
            f"({percent(MORE_TENSORS)} more allowed)"
        )


# Above what fusing or caching costs on the miniature (15 % at the most, by test_tensors.py's
# count), and below a second copy of any large part.
MORE_TENSORS = 0.25


def _stored_memory(
    peak_bytes: int | None,
    stored: StoredBaseline | None,
    tolerance: float,
    fingerprint: Mapping[str, str] | None,
    versions: Mapping[str, str] | None,
) -> Verdict:
    gate = "memory"
    if peak_bytes is None:
        return Verdict(gate, INCONCLUSIVE, "peak memory cannot be read here")
    if not (math.isfinite(peak_bytes) and peak_bytes > 0):
        return Verdict(gate, FAILED, f"the peak is {peak_bytes} bytes, which is no memory")
    # Memory is read with the case alone, however it is timed afterwards.
    unlike = _unlike(stored, fingerprint, leaving=("timing",)) if stored is not None else None
    if unlike:
        return Verdict(gate, INCONCLUSIVE, unlike)
    held = compare_memory(peak_bytes, stored, tolerance, versions=versions) if stored else None
    if held is None:
        return Verdict(gate, INCONCLUSIVE, NONE_STORED)
    return Verdict(gate, PASSED if held.kept else FAILED, held.words)


def image_verdict(
    healths: Sequence[ImageHealth], findings: Findings | OverflowOrigin | None = None
) -> Verdict:
    """Is every image sound? Where not, say why, and what a second run with hooks has found.

    One that the safety checker flagged and left as it was passes, and the reason says so.
    """
    gate = "black images"
    if not healths:
        return Verdict(gate, INCONCLUSIVE, "no image was looked at")
    broken = [health for health in healths if not health.ok]
    if not broken:
        flagged = sum(health.flagged for health in healths)
        though = f"; {flagged} flagged as NSFW, though sound and not blacked" if flagged else ""
        reason = f"{len(healths)} images, none black, flat or non-finite{though}"
        return Verdict(gate, PASSED, reason)
    reasons = [health.reason for health in broken]
    told = []
    for reason in dict.fromkeys(reasons):
        first = broken[reasons.index(reason)]
        where = f", as image {(first.index or 0) + 1}: {first.detail}" if first.detail else ""
        told.append(f"{reason} ({reasons.count(reason)}){where}")
    cause = f"; {findings.sentence}" if findings is not None else ""
    found = f"{len(broken)} of {len(healths)} images: {', '.join(told)}"
    return Verdict(gate, FAILED, found + cause)


def _judge_latency(
    rounds: Sequence[float],
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    fingerprint: Mapping[str, str] | None,
    versions: Mapping[str, str] | None,
    yardstick_seconds: float | None,
    published: PublishedRow | None,
    speedup: float | None,
    model: str,
) -> tuple[str, str]:
    """Status and reason of a latency."""
    unfit = _unfit(rounds)
    if unfit is not None:
        return unfit
    if not (math.isfinite(tolerance) and tolerance >= 0):
        return FAILED, f"the latency tolerance is {tolerance}, which allows nothing"
    seconds = statistics.median(rounds)
    why_not = NONE_STORED
    held: list[Held] = []
    if stored is not None:
        unlike = _unlike(stored, fingerprint)
        why_not = unlike or why_not
        if not unlike:
            drift = {"yardstick_seconds": yardstick_seconds, "versions": versions}
            held.append(compare_latency(seconds, stored, tolerance, **drift))
    if published is not None and model == published.model:
        if published.differs:
            why_not += f"; the published {published.seconds:.4g} s is of another setup: "
            why_not += published.differs
        else:
            held += _compare_published(seconds, published, tolerance, speedup)
    broken = [one for one in held if not one.kept]
    if not held:
        return INCONCLUSIVE, why_not
    words = "; ".join(one.words for one in broken or held)
    return (FAILED if broken else PASSED), f"{seconds:.4g} s: {words}"


def _compare_published(
    seconds: float, row: PublishedRow, tolerance: float, speedup: float | None
) -> list[Held]:
    """A latency and its speed-up over the reference against a published row."""
    slower = Held(
        seconds <= row.seconds * (1 + tolerance),
        f"{change(seconds / row.seconds)} than the published {row.seconds:.4g} s "
        f"({percent(tolerance)} slower allowed)",
    )
    if speedup is None and row.variant == "baseline":
        return [slower]
    if speedup is None:
        unknown = "speed-up not judged, as the reference was not measured"
        return [slower, Held(True, unknown)]
    floor = row.speedup * (1 - tolerance)
    gained = Held(
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


def _unlike(
    stored: StoredBaseline, fingerprint: Mapping[str, str] | None, *, leaving: Sequence[str] = ()
) -> str | None:
    """Why the stored runs cannot be compared with this measurement; None where they can."""
    if fingerprint is None:
        return None
    unlike = differences(stored.fingerprint, fingerprint, leaving=leaving)
    return f"the stored baseline is of something else ({'; '.join(unlike)})" if unlike else None
