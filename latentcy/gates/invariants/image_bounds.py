"""How two sets of images differ, in numbers and in words, and how far they may.

Pixels are float32, nominally 0..1. Two generations that run the same code on a CPU give the same
bits. Others (another batch size, sliced attention, a GPU whose library picks another algorithm)
differ by rounding, which is bounded by the coarsest arithmetic in the case.

`python -m latentcy.studies.rounding` measured it on the miniature, 24 prompts, 4 steps, one CPU
thread, torch 2.13 and diffusers 0.42.1, in batches of 3 and with sliced attention and decoding:

| arithmetic | largest difference of a pixel | largest mean of an image | bounds |
| --- | --- | --- | --- |
| fp32 | 2.1e-05 | 1.3e-06 | 0.002 and 5e-05 |
| fp16 | 0.0073 | 0.00018 | 0.03 and 0.0012 |
| bf16 | 0.057 | 0.0016 | 0.25 and 0.008 |

The bounds are four to seven times that in half precision. In fp32 they are half a grey level of
255: far more than was seen, and far less than any fault. Tf32 has the mantissa of fp16 and gets its
bounds. A pixel in a thousand may exceed the first, since the tail grows with the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.measure.images.health import ALIKE_SHARE
from latentcy.pipelines.sampler import Sampler


@dataclass(frozen=True)
class Bound:
    """How far an image may be from another that should be the same."""

    pixel: float  # 0..1, of any channel of a pixel
    mean: float  # 0..1, of all channels of all pixels of one image
    share: float  # 0..1, of an image's pixels that may be further apart than `pixel`
    allows: str  # the bound in words, for a verdict

    def holds(self, other: Difference) -> bool:
        """Whether the difference is allowed; never for one that is not a number."""
        return not other.unlike and other.mean <= self.mean and other.beyond <= self.share


@dataclass(frozen=True)
class Difference:
    """The image of a set that is furthest from its like in another set."""

    image: int  # counted from 1
    images: int  # in the set
    largest: float  # 0..1, of any channel of any pixel
    mean: float  # 0..1, of all channels of all pixels
    beyond: float  # 0..1, share of the pixels that are further apart than the bound's `pixel`
    unlike: str = ""  # why the two cannot be compared: non-finite values, another number or size


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is as it should be, in words with the numbers."""

    kept: bool
    words: str


SAME_TO_THE_EYE = 0.0005
"""Mean difference (0..1) below which images of a trained model count as one and the same: an
eighth of a grey level of 255. Two seeds of the miniature are 0.019 apart or more after 4 steps, two
prompts 0.047 (`python -m latentcy.studies.rounding`)."""

EXACT = Bound(0.0, 0.0, 0.0, "the same code on a CPU gives the same bits")


def rounding(sampler: Sampler) -> Bound:
    """How far rounding may take an image of this case, by the coarsest dtype that it computes in.

    That is the coarsest of its weights, of its autocast and of what its variant states.
    """
    return _ROUNDING[_coarsest(sampler)]


def same_code(sampler: Sampler) -> Bound:
    """How far two generations by the same code with the same inputs may be apart.

    Nothing on a CPU. On an accelerator what rounding takes, since its libraries may choose another
    algorithm at every call.
    """
    return EXACT if sampler.device.kind == "cpu" else rounding(sampler)


def least_apart(sampler: Sampler) -> float:
    """The mean difference (0..1) above which two images of this case count as two.

    Random weights hardly see the prompt: of them only the very same image is a fault, which is 0.
    """
    return 0.0 if sampler.model.unjudged else SAME_TO_THE_EYE


def furthest(images: np.ndarray, others: np.ndarray, bound: Bound) -> Difference:
    """The image that breaks the bound most, else the one with the largest difference.

    Args:
        images: [n, height, width, 3].
        others: the same; another shape is a difference, not an error.
        bound: gives the size beyond which a pixel is counted.
    """
    if images.shape != others.shape or not len(images):
        unlike = f"{_sized(images)} against {_sized(others)}"
        return Difference(1, len(images), np.nan, np.nan, 1.0, unlike)
    pairs = enumerate(zip(images, others, strict=True), 1)
    each = [_difference(number, len(images), one, other, bound) for number, (one, other) in pairs]
    return max(each, key=lambda one: (bool(one.unlike), not bound.holds(one), one.largest))


def same(images: np.ndarray, others: np.ndarray, bound: Bound, *, what: str) -> Finding:
    """Finds whether images are as far apart as the bound allows.

    `what` names both sides, parted by "/": "{image} in a batch/the same image alone". `{image}`
    becomes the image that is furthest off, or all of them where none is too far.
    """
    found = furthest(images, others, bound)
    kept = bound.holds(found)
    one, other = _sides(what, found, each=kept)
    if not kept:
        words = f"{one} differs from {other} {_by(found, bound)}, where {bound.allows}"
    elif found.largest:
        apart = f"{found.largest:.2g} of {other} (mean {found.mean:.2g}; {bound.pixel:g} allowed)"
        words = f"{one} is within {apart}"
    else:
        words = f"{one} equals {other} to the last bit"
    return Finding(kept, words)


def another(image: np.ndarray, other: np.ndarray, least_mean: float, *, what: str) -> Finding:
    """Finds whether an image is another one: its mean difference is above `least_mean`.

    With 0 only the very same image is not. Both are sets of one; `what` is as in `same`.
    """
    found = furthest(image, other, EXACT)
    one, theirs = _sides(what, found, each=False)
    if found.unlike:
        return Finding(False, f"{one} differs from {theirs} {_by(found, EXACT)}")
    apart = f"{one} is {found.mean:.2g} in the mean from {theirs} (at most {found.largest:.2g})"
    if found.mean > least_mean:
        return Finding(True, apart)
    least = f"more than {least_mean:g} is expected" if least_mean else "it must not be the same"
    return Finding(False, f"{apart}, where {least}")


def concluded(gate: str, findings: Sequence[Finding], left_out: Sequence[str] = ()) -> Verdict:
    """The verdict of several findings: what is broken, else all; inconclusive where none is."""
    broken = [each.words for each in findings if not each.kept]
    unjudged = [f"not judged: {', '.join(left_out)}"] if left_out else []
    if not findings:
        return Verdict(gate, INCONCLUSIVE, "; ".join(unjudged) or "nothing could be compared")
    words = broken or [*(each.words for each in findings), *unjudged]
    return Verdict(gate, FAILED if broken else PASSED, "; ".join(words))


# The share is that of `latentcy.measure.images.health`: fewer pixels than any object that can be
# recognised.
_SHARE = round(1 - ALIKE_SHARE, 6)


def _rounding_bound(name: str, pixel: float, mean: float) -> Bound:
    allows = f"rounding in {name} is allowed {pixel:g} a pixel and {mean:g} in the mean"
    return Bound(pixel, mean, _SHARE, allows)


_ROUNDING = {
    "float32": _rounding_bound("fp32", 0.002, 0.00005),
    "tf32": _rounding_bound("tf32", 0.03, 0.0012),
    "float16": _rounding_bound("fp16", 0.03, 0.0012),
    "bfloat16": _rounding_bound("bf16", 0.25, 0.008),
}
_FROM_FINE_TO_COARSE = tuple(_ROUNDING)


def _coarsest(sampler: Sampler) -> str:
    variant, device = sampler.variant, sampler.device
    names = {variant.resolved_dtype(device), variant.resolved_autocast(device) or "float64"}
    if variant.tf32:
        names.add("tf32")
    for part in sampler.pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            dtypes = {each.dtype for each in part.parameters() if each.is_floating_point()}
            names |= {str(dtype).removeprefix("torch.") for dtype in dtypes}
    names.discard("float64")
    rank = {name: place for place, name in enumerate(_FROM_FINE_TO_COARSE)}
    coarsest = max(names, key=lambda name: rank.get(name, len(rank)))
    return coarsest if coarsest in rank else _FROM_FINE_TO_COARSE[-1]  # such as float8 weights


def _difference(
    number: int, count: int, one: np.ndarray, other: np.ndarray, bound: Bound
) -> Difference:
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Difference(number, count, np.nan, np.nan, 1.0, "NaN or infinite pixels")
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    beyond = float((apart.max(axis=-1) > bound.pixel).mean())
    return Difference(number, count, float(apart.max()), float(apart.mean()), beyond)


def _sides(what: str, found: Difference, *, each: bool) -> tuple[str, str]:
    """What is compared with what, in words."""
    many = f"each of {found.images} images" if each else f"image {found.image} of {found.images}"
    one, _, other = what.partition("/")
    return one.format(image=many if found.images > 1 else "the image"), other


def _by(found: Difference, bound: Bound) -> str:
    if found.unlike:
        return f"by {found.unlike}"
    beyond = f"{found.beyond:.1%} of its pixels by more than {bound.pixel:g}"
    return f"by up to {found.largest:.3g} (mean {found.mean:.2g}, {beyond})"


def _sized(images: np.ndarray) -> str:
    sizes = " by ".join(str(each) for each in images.shape[1:3][::-1])
    return f"{len(images)} image(s) of {sizes} pixels"
