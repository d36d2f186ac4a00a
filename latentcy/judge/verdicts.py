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

from latentcy.judge.baselines import PublishedRow, StoredBaseline, differences

if TYPE_CHECKING:
    from latentcy.generate.variants import Tolerance
    from latentcy.judge.images import ImageHealth
    from latentcy.judge.overflow import OverflowOrigin

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """What a gate says: "latency", "quality", "black images", "memory"; status; one sentence."""

    gate: str
    status: str  # "passed" | "failed" | "inconclusive"
    reason: str


def latency_verdict(
    median_seconds: float,
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    fingerprint: Mapping[str, str] | None = None,
    published: PublishedRow | None = None,
    speedup: float | None = None,
    device_name: str = "",
    model: str = "",
) -> Verdict:
    """Is the latency at most (1 + tolerance) times each baseline that may be held against it?

    Args:
        median_seconds: of one generation.
        stored: baseline of this device and case, or None.
        tolerance: fraction by which the latency may exceed a baseline, and the speed-up fall short.
        fingerprint: of this measurement; a stored baseline that differs in what must agree is not
            compared.
        published: row for this group and variant; it binds only on an A100 with the row's model.
        speedup: over the reference, where one was measured.
        device_name: as the driver names it.
        model: the model's name.

    Returns:
        failed when any baseline that binds is not kept; inconclusive when none binds.
    """
    gate = "latency"
    if not (math.isfinite(median_seconds) and median_seconds > 0):
        return Verdict(gate, FAILED, f"the latency is {median_seconds} s, which is no latency")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        return Verdict(gate, FAILED, f"the latency tolerance is {tolerance}, which allows nothing")
    kept: list[str] = []
    broken: list[str] = []
    why_not = "no baseline is stored for it on this device (--benchmark-record stores one)"

    if stored is not None:
        unlike = differences(stored.fingerprint, fingerprint) if fingerprint is not None else ()
        if unlike:
            why_not = f"the stored baseline is of something else ({'; '.join(unlike)})"
        else:
            limit = stored.seconds * (1 + tolerance)
            (kept if median_seconds <= limit else broken).append(
                f"{_change(median_seconds, stored.seconds)} than the {stored.seconds:.4g} s "
                f"stored {stored.recorded} ({tolerance:.0%} slower allowed)"
            )
    on_its_device = published is not None and "A100" in device_name and model == published.model
    if published is not None and on_its_device and published.differs:
        why_not += f"; the published {published.seconds:.4g} s is of another setup: "
        why_not += published.differs
    elif published is not None and on_its_device:
        limit = published.seconds * (1 + tolerance)
        (kept if median_seconds <= limit else broken).append(
            f"{_change(median_seconds, published.seconds)} than the published "
            f"{published.seconds:.4g} s ({tolerance:.0%} slower allowed)"
        )
        if speedup is not None:
            floor = published.speedup * (1 - tolerance)
            (kept if speedup >= floor else broken).append(
                f"speed-up {speedup:.3g} against the published {published.speedup:.3g} "
                f"(at least {floor:.3g})"
            )
        elif published.variant != "baseline":
            kept.append("speed-up not judged, as the reference was not measured")

    if broken:
        return Verdict(gate, FAILED, f"{median_seconds:.4g} s: {'; '.join(broken)}")
    if kept:
        return Verdict(gate, PASSED, f"{median_seconds:.4g} s: {'; '.join(kept)}")
    return Verdict(gate, INCONCLUSIVE, why_not)


def memory_verdict(
    peak_bytes: int | None,
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    fingerprint: Mapping[str, str] | None = None,
) -> Verdict:
    """Is peak memory at most (1 + tolerance) times that of the baseline stored for this device?"""
    gate = "memory"
    if peak_bytes is None:
        return Verdict(gate, INCONCLUSIVE, "peak memory cannot be read here")
    if stored is None or stored.peak_bytes is None:
        return Verdict(
            gate,
            INCONCLUSIVE,
            "no baseline is stored for it on this device (--benchmark-record stores one)",
        )
    unlike = differences(stored.fingerprint, fingerprint) if fingerprint is not None else ()
    if unlike:
        why = f"the stored baseline is of something else ({'; '.join(unlike)})"
        return Verdict(gate, INCONCLUSIVE, why)
    kept = peak_bytes <= stored.peak_bytes * (1 + tolerance)
    numbers = (
        f"{peak_bytes / 2**20:.0f} MiB against {stored.peak_bytes / 2**20:.0f} MiB stored "
        f"{stored.recorded} ({tolerance:.0%} more allowed)"
    )
    return Verdict(gate, PASSED if kept else FAILED, numbers)


def ssim_verdict(values: Sequence[float], tolerance: Tolerance) -> Verdict:
    """Is the mean SSIM to the reference's images at least the tolerance's value?"""
    gate = "quality"
    values = [float(value) for value in values]
    if not values:
        return Verdict(gate, INCONCLUSIVE, "SSIM: no image was compared")
    bad = sum(not math.isfinite(value) for value in values)
    if bad:
        return Verdict(gate, FAILED, f"SSIM is not a number for {bad} of {len(values)} images")
    mean = statistics.fmean(values)
    kept = mean >= tolerance.value
    reason = (
        f"SSIM {mean:.4f} to the reference over {len(values)} images (least {min(values):.4f}), "
        f"{'at least' if kept else 'below the floor of'} {tolerance.value:g}"
    )
    return Verdict(gate, PASSED if kept else FAILED, reason)


def clip_verdict(
    values: Sequence[float], reference_values: Sequence[float], tolerance: Tolerance
) -> Verdict:
    """Is the mean paired drop of CLIP score at most the tolerance's share of the reference's mean?

    A share, since scorers differ in scale: CLIP ViT-L/14 gives a good image about 27 points of
    100, the miniature's scorer about 88.

    Raises:
        ValueError: the two are not paired.
    """
    gate = "quality"
    values = [float(value) for value in values]
    reference = [float(value) for value in reference_values]
    if len(values) != len(reference):
        raise ValueError(f"{len(values)} CLIP scores against {len(reference)} of the reference")
    if not values:
        return Verdict(gate, INCONCLUSIVE, "CLIP: no image was scored")
    bad = sum(not math.isfinite(value) for value in values)
    if bad:
        return Verdict(gate, FAILED, f"CLIP is not a number for {bad} of {len(values)} images")
    if not all(math.isfinite(value) for value in reference):
        return Verdict(gate, INCONCLUSIVE, "CLIP of the reference is not a number")
    drop = statistics.fmean(one - other for other, one in zip(values, reference, strict=True))
    limit = tolerance.value * statistics.fmean(reference)
    kept = drop <= limit
    reason = (
        f"CLIP {statistics.fmean(values):.2f} against {statistics.fmean(reference):.2f} over "
        f"{len(values)} prompts, a paired drop of {drop:.2f}, "
        f"{'at most' if kept else 'more than the allowed'} {limit:.2f} ({tolerance.value:.0%})"
    )
    return Verdict(gate, PASSED if kept else FAILED, reason)


def image_verdict(healths: Sequence[ImageHealth], origin: OverflowOrigin | None = None) -> Verdict:
    """Is every image sound? Where not, say why, and where the first non-finite value was born."""
    gate = "black images"
    if not healths:
        return Verdict(gate, INCONCLUSIVE, "no image was looked at")
    broken = [health for health in healths if not health.ok]
    if not broken:
        return Verdict(gate, PASSED, f"{len(healths)} images, none black, flat or non-finite")
    reasons = [health.reason for health in broken]
    counted = ", ".join(f"{reason} ({reasons.count(reason)})" for reason in dict.fromkeys(reasons))
    cause = f"; {origin.sentence}" if origin is not None else ""
    return Verdict(gate, FAILED, f"{len(broken)} of {len(healths)} images: {counted}{cause}")


def _change(seconds: float, baseline: float) -> str:
    share = seconds / baseline - 1
    return f"{abs(share):.1%} {'slower' if share > 0 else 'faster'}"
