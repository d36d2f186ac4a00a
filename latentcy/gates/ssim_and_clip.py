"""The gates on mean SSIM and CLIP, paired with the reference: pure functions, NaN never passes."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from latentcy.core.verdict import FAILED, INCONCLUSIVE, Verdict
from latentcy.stats.noninferiority import non_inferior
from latentcy.stats.numbers import Numbers

if TYPE_CHECKING:
    from latentcy.pipelines.variants import Tolerance


def ssim_verdict(values: Numbers, tolerance: Tolerance) -> Verdict:
    """Is the mean SSIM to the reference's images at least the tolerance's value, with 99 %?

    failed where the mean is not, inconclusive where only its lower bound is not, and for one image.
    """
    gate = "SSIM"
    values = [float(value) for value in values]
    floor = tolerance.value
    if not math.isfinite(floor):
        return Verdict(gate, FAILED, f"the SSIM floor is {floor}, which allows nothing")
    decision = non_inferior([value - floor for value in values], 0.0, "higher")
    seen = decision.paired
    if not seen.n or seen.n_nan:
        return Verdict(gate, decision.status, f"SSIM: {decision.why}")
    worst = min(range(len(values)), key=values.__getitem__)
    reason = f"SSIM {floor + seen.mean:.4f} to the reference over {seen.n} images"
    reason += f" ({_bound(floor + seen.low, 'at least {:.4f}')}"
    reason += f"least {values[worst]:.4f}, prompt {worst + 1}), "
    reason += f"{'below the floor of' if decision.status == FAILED else 'against a floor of'} "
    return Verdict(gate, decision.status, f"{reason}{floor:g}{_and(decision.why)}")


def clip_verdict(values: Numbers, reference_values: Numbers, tolerance: Tolerance) -> Verdict:
    """Is the mean paired drop of CLIP score within the tolerance's share of the reference's mean?

    A share, since scorers differ in scale: CLIP ViT-L/14 gives a good image about 27 points of
    100, the miniature's scorer about 88. failed where the mean drop is beyond it, inconclusive
    where only its 99 % bound is, and for one prompt.

    Raises:
        ValueError: the two are not paired.
    """
    gate = "CLIP"
    values = [float(value) for value in values]
    reference = [float(value) for value in reference_values]
    if len(values) != len(reference):
        raise ValueError(f"{len(values)} CLIP scores against {len(reference)} of the reference")
    if not all(math.isfinite(value) for value in reference):
        return _clip_without_reference(values)
    differences = [one - other for other, one in zip(reference, values, strict=True)]
    limit = tolerance.value * statistics.fmean(reference or [0.0])
    decision = non_inferior(differences, limit, "higher")
    seen = decision.paired
    if not seen.n or seen.n_nan or not math.isfinite(limit):
        return Verdict(gate, decision.status, f"CLIP: {decision.why}")
    worst = min(range(len(values)), key=differences.__getitem__)
    reason = f"CLIP {statistics.fmean(values):.2f} against {statistics.fmean(reference):.2f} over "
    reason += f"{seen.n} prompts, a paired drop of {-seen.mean:.2f} "
    reason += f"({_bound(-seen.low, 'at most {:.2f}')}"
    reason += f"greatest {-differences[worst]:.2f}, prompt {worst + 1}), "
    reason += f"{'more than the allowed' if decision.status == FAILED else 'allowed are'} "
    reason += f"{limit:.2f} ({tolerance.value:.3g} of the reference's){_and(decision.why)}"
    return Verdict(gate, decision.status, reason)


def _clip_without_reference(values: Numbers) -> Verdict:
    bad = sum(not math.isfinite(value) for value in values)
    if bad:
        return Verdict("CLIP", FAILED, f"CLIP is not a number for {bad} of {len(values)} images")
    return Verdict("CLIP", INCONCLUSIVE, "CLIP of the reference is not a number")


def _bound(value: float, words: str) -> str:
    """A mean's bound in words; nothing where there is none."""
    return f"{words.format(value)} with 99 %, " if math.isfinite(value) else ""


def _and(why: str) -> str:
    return f"; {why}" if why else ""
