"""The gates on a quality profile: local SSIM, tone, sharpness, image distance, distribution.

Each gives None where the limits hold nothing for it, so that it is no promise of the variant's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from latentcy.core.verdict import FAILED, PASSED, Verdict
from latentcy.gates.tolerances import ONE
from latentcy.measure.images import appearance
from latentcy.stats.noninferiority import Part, combine, judge_each, judge_mean

if TYPE_CHECKING:
    from latentcy.measure.images.profile import Profile
    from latentcy.pipelines.variants.variant import Tolerance

    Limits = Mapping[str, Tolerance]


def local_ssim_verdict(profile: Profile, limits: Limits) -> Verdict | None:
    """Is SSIM kept in every window: on average over the images, and in each image alone?

    Worst windows are extremes and have no interval, so that one image is enough to pass.
    """
    parts = []
    if "placed SSIM" in limits:
        parts.append(_placed(profile, limits["placed SSIM"].value))
    if "local SSIM" + ONE in limits:
        values, where = profile.against["local SSIM"], [str(place) for place in profile.worst]
        parts.append(
            judge_each("local SSIM", values, limits["local SSIM" + ONE].value, where=where)
        )
    return Verdict("local SSIM", *combine(parts)) if parts else None


def tone_verdict(profile: Profile, limits: Limits) -> Verdict | None:
    """Are brightness, contrast and colour kept: on average, and in each image?"""
    return _verdict("tone", (*appearance.TONES, "colour shift"), profile, limits)


def sharpness_verdict(profile: Profile, limits: Limits) -> Verdict | None:
    """Are the images neither blurred nor noisy: on average, and each?"""
    return _verdict("sharpness", ("sharpness", "grain"), profile, limits)


def image_distance_verdict(profile: Profile, limits: Limits) -> Verdict | None:
    """Do the scorer's embeddings stay near the reference's? None without a scorer too."""
    return _verdict("image distance", ("image distance",), profile, limits)


def distribution_verdict(profile: Profile, limits: Limits) -> Verdict | None:
    """Are FID and KID of the two sets within their limits? None where they were not read.

    `Profile.without_distribution` says why they were not.
    """
    seen, names = profile.distribution, [name for name in ("FID", "KID") if name in limits]
    if seen is None or not names:
        return None
    values = {"FID": seen.fid, "KID": seen.kid}
    kept = all(values[name] <= limits[name].value for name in names)  # False for NaN
    words = [f"{name} {values[name]:.4f}, {limits[name].value:g} allowed" for name in names]
    reason = f"{'; '.join(words)}; of {seen.images} images' embeddings"
    return Verdict("distribution", PASSED if kept else FAILED, reason)


GATES = (
    local_ssim_verdict,
    tone_verdict,
    sharpness_verdict,
    image_distance_verdict,
    distribution_verdict,
)


def _verdict(gate: str, names: Sequence[str], profile: Profile, limits: Limits) -> Verdict | None:
    parts = []
    for name in names:
        if name not in profile.against:
            continue
        if name in limits:
            parts.append(judge_mean(name, profile.against[name], limits[name].value))
        if name + ONE in limits:
            parts.append(judge_each(name, profile.against[name], limits[name + ONE].value))
    return Verdict(gate, *combine(parts)) if parts else None


def _placed(profile: Profile, tolerance: float) -> Part:
    values = profile.against["placed SSIM"]
    if not np.isfinite(values).all():
        return judge_each("placed SSIM", values, tolerance)
    mean = values.mean(keepdims=True)
    part = judge_each("placed SSIM", mean, tolerance)
    words = f"SSIM {mean[0]:.4f} in {profile.placed} on average over {len(values)} images"
    return Part(part.status, f"{words}, at least {1 - tolerance:.4g} asked for", part.used)
