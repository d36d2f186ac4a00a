"""Are images the same but for rounding? A pure function of their differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict

if TYPE_CHECKING:
    from latentcy.measure.images.differences import ImageDifferences

GATE = "same images"


@dataclass(frozen=True)
class SameImages:
    """What rounding may do to images, and where that is known from.

    Attributes:
        rms: most that the median image may differ by, of the scale 0..1.
        ssim: least of any one image.
        brightness: most that the mean brightness may change by, as a share.
        reason: what was measured.
    """

    rms: float
    ssim: float
    brightness: float
    reason: str


def own_rounding(differences: ImageDifferences) -> SameImages:
    """Limits from how far healthy images of the same pipeline lie from its reference.

    Twice what was seen, and at least half a level of 8 bits: what no eye and no file can tell.
    """
    least = 0.5 / 255
    return SameImages(
        rms=max(least, 2 * differences.typical),
        ssim=1 - max(0.01, 2 * (1 - float(differences.ssim.min()))),
        brightness=max(least, 2 * abs(differences.shift)),
        reason=f"twice what {len(differences.rms)} healthy images showed",
    )


def same_images_verdict(differences: ImageDifferences, limits: SameImages) -> Verdict:
    """Failed where a limit is not kept, or a difference is no number; else passed.

    Three limits, since each is blind to what another sees: the median image tells what was changed
    in all of them, the worst one what broke a single one, and the mean of the brightness what is
    too little in each and the same in all.
    """
    count = len(differences.rms)
    if not count:
        return Verdict(GATE, INCONCLUSIVE, "no image was compared")
    bad = int((~np.isfinite(differences.rms + differences.ssim)).sum())
    if bad:
        return Verdict(GATE, FAILED, f"{bad} of {count} images are not finite")
    typical, shift = differences.typical, differences.shift
    least, place = float(differences.ssim.min()), differences.worst
    parts = (
        (
            typical <= limits.rms,
            f"the median image differs by {typical:.5f} of the scale (at most {limits.rms:.5f})",
        ),
        (
            least >= limits.ssim,
            f"SSIM {least:.4f} in image {place + 1} (at least {limits.ssim:.4g} in each)",
        ),
        (
            abs(shift) <= limits.brightness,
            f"brightness {100 * shift:+.2f} % (at most {100 * limits.brightness:.2g} % either way)",
        ),
    )
    failed = [words for kept, words in parts if not kept]
    told = failed or [words for _, words in parts]
    status = FAILED if failed else PASSED
    return Verdict(GATE, status, f"{'; '.join(told)}; of {count} images, {limits.reason}")
