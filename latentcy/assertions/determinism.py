"""An assertion on repeatability: the seed, and nothing else, decides what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from latentcy.assertions.given_images import given_images
from latentcy.assertions.outcome import hold
from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import FAILED, PASSED, Verdict

__tracebackhide__ = True  # pytest shows the line of the test

GATE = "deterministic"


def assert_deterministic(
    pipeline: Any,
    prompt: str = "a photograph of a lighthouse",
    *,
    seed: int = 2023,
    tolerance: float = 0.0,
    **call: Any,
) -> Verdict:
    """A seed draws the same images again, also after another one, which draws others.

    Args:
        pipeline: a pipeline of diffusers, called with `prompt`, a generator on the CPU and `call`;
            or a function of a seed that returns images, and then neither is used.
        prompt: what is drawn.
        seed: of the first image; the next one is the other.
        tolerance: how far any pixel may move, on the scale 0..1; 0 for not at all.
        call: further arguments of the pipeline, such as `num_inference_steps=4`.

    Raises:
        AssertionError: it does not, with how far the images lie apart.
        LatentcyError: `pipeline` cannot be called, or returns no images.
    """
    draw = _drawing(pipeline, prompt, call)
    first, other, again = (given_images(draw(one)) for one in (seed, seed + 1, seed))
    return hold(_verdict(first, other, again, tolerance))


def _verdict(first: np.ndarray, other: np.ndarray, again: np.ndarray, tolerance: float) -> Verdict:
    if first.shape != again.shape:
        return Verdict(
            GATE, FAILED, f"images of shape {list(first.shape)}, then {list(again.shape)}"
        )
    if not (np.isfinite(first).all() and np.isfinite(again).all()):
        return Verdict(GATE, FAILED, "the images are not finite, so nothing repeats")
    apart = float(np.abs(first - again).max())
    if apart > tolerance:
        share = float((np.abs(first - again) > tolerance).mean())
        why = f"the same seed drew other images: {share:.1%} of the values differ, by {apart:.4g}"
        return Verdict(GATE, FAILED, f"{why} of the scale at most; {tolerance:g} is allowed")
    if first.shape == other.shape and np.array_equal(first, other):
        return Verdict(GATE, FAILED, "another seed drew the very same images: the seed is not used")
    said = "exactly" if tolerance == 0 else f"within {tolerance:g}"
    return Verdict(GATE, PASSED, f"the same seed drew the same images, {said}, another seed others")


def _drawing(pipeline: Any, prompt: str, call: dict[str, Any]) -> Callable[[int], Any]:
    if not callable(pipeline):
        raise LatentcyError(
            found=f"{type(pipeline).__name__}, which cannot be called",
            expected="a pipeline of diffusers, or a function of a seed that returns images",
            do="hand the pipeline itself",
        )
    if not hasattr(pipeline, "components"):  # a function
        return pipeline

    def draw(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return pipeline(prompt, generator=generator, **{"output_type": "np", **call})

    return draw
