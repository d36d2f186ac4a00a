"""Assertions on images: none broken, and the same as a reference's but for rounding."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from latentcy.assertions.given_images import given_images, given_pair
from latentcy.assertions.outcome import hold
from latentcy.assertions.pictures import keep_pictures
from latentcy.core.errors import LatentcyError
from latentcy.core.quality_limits import Quality
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.gates.black_images import image_verdict
from latentcy.gates.image_quality import local_ssim_verdict, sharpness_verdict, tone_verdict
from latentcy.gates.same_images import GATE, SameImages, own_rounding, same_images_verdict
from latentcy.gates.ssim_and_clip import ssim_verdict
from latentcy.gates.tolerances import SAME_IMAGES, bounds, kind_of
from latentcy.measure.images.differences import ImageDifferences, image_differences
from latentcy.measure.images.health import look
from latentcy.measure.images.profile import compare, read

__tracebackhide__ = True  # pytest shows the line of the test

ALIASES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def assert_not_black(images: Any) -> Verdict:
    """No image is black, flat, foggy, or holds what is not finite.

    Args:
        images: as `given_images` takes them.

    Raises:
        AssertionError: one is, with its number and what was seen.
        LatentcyError: they are no images.
    """
    return hold(image_verdict(look(given_images(images))))


def assert_same_images(
    candidate: Any, reference: Any, *, like: Any = "bfloat16", strict: bool = False
) -> Verdict:
    """The candidate's images are the reference's, from the same prompts and starting noise.

    Args:
        candidate, reference: as `given_images` takes them; as many of each, of one size. Eight or
            more tell rounding from damage; of one alone little is known.
        like: how alike. "float32", "tf32", "float16" or "bfloat16": as the coarsest arithmetic that
            either side uses lets them be. A `Quality`: SSIM as it states, and tone, sharpness and
            every window as the suite holds variants that promise it. Images: as near as these
            healthy ones of the reference's pipeline, drawn in other batches or by another kernel.
        strict: whether what could not be told fails as well.

    Returns:
        The verdict, with its numbers in one sentence.

    Raises:
        AssertionError: they are not, with what differs, and pictures in latentcy-results/failed.
        LatentcyError: what is given cannot be compared.
    """
    here, there = given_pair(candidate, reference)
    verdict, differences = judge_same_images(here, there, like)
    more = ""
    if verdict.status != PASSED:
        kept = keep_pictures(here, there, differences)
        more = f"\n  pictures: {kept}" if kept else ""
    return hold(verdict, strict=strict, more=more)


def judge_same_images(
    here: np.ndarray, there: np.ndarray, like: Any
) -> tuple[Verdict, ImageDifferences]:
    """The verdict of `assert_same_images` on arrays [n, h, w, 3], and what it is made from."""
    broken = image_verdict(look(here))
    sound = image_verdict(look(there)).status == PASSED
    differences = _differences(here, there)
    if broken.status == FAILED and sound:
        why = f"broken, as the reference is not: {broken.reason}"
        return Verdict(GATE, FAILED, why), differences
    if isinstance(like, Quality):
        return _quality_verdict(here, there, like), differences
    return same_images_verdict(differences, _limits(like, there)), differences


def _differences(here: np.ndarray, there: np.ndarray) -> ImageDifferences:
    try:
        return image_differences(here, there)
    except ValueError as error:
        raise LatentcyError(
            found=f"images that cannot be compared ({error})",
            expected="images of 11 pixels a side or more",
            do="compare larger ones",
        ) from None


def _limits(like: Any, reference: np.ndarray) -> SameImages:
    if isinstance(like, str):
        name = ALIASES.get(like, like)
        if name in SAME_IMAGES:
            return SAME_IMAGES[name]
        near = difflib.get_close_matches(like, [*SAME_IMAGES, *ALIASES], n=1)
        raise LatentcyError(
            found=f"like={like!r}",
            expected=f"one of {', '.join(SAME_IMAGES)}, a Quality, or healthy images",
            do=f"did you mean {near[0]!r}?" if near else "use one of those",
        )
    healthy, reference = given_pair(like, reference)
    return own_rounding(_differences(healthy, reference))


def _quality_verdict(here: np.ndarray, there: np.ndarray, quality: Quality) -> Verdict:
    """The first of the suite's gates that fails, else the first that is open, else SSIM's."""
    kind = kind_of(quality)
    if quality.ssim is None or kind is None:
        raise LatentcyError(
            found="like=Quality(...) without ssim",
            expected="the least SSIM: Quality(ssim=Tolerance(0.98, 'why'))",
            do="state it; CLIP needs prompts and a scorer, which pytest --benchmark has",
        )
    profile = compare(read(here), read(there))
    limits = bounds(kind)
    found = [ssim_verdict(profile.against["SSIM"], quality.ssim)]
    for judge in (local_ssim_verdict, tone_verdict, sharpness_verdict):
        verdict = judge(profile, limits)
        if verdict is not None:
            found.append(verdict)
    order = {FAILED: 0, INCONCLUSIVE: 1, PASSED: 2}
    return min(found, key=lambda one: order[one.status])
