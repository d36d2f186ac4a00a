"""Images as people have them at hand, as one float array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from latentcy.core.errors import LatentcyError

__tracebackhide__ = True  # pytest shows the line of the test

_EXPECTED = (
    "images: an array or tensor of one or several, PIL images, a list of those, or what a pipeline"
    " returned"
)
_ROUNDING = 0.01  # beyond 0..1, which a decoder's last step may leave


def given_images(images: Any, name: str = "images") -> np.ndarray:
    """The images as float32 [n, h, w, 3], nominally 0..1.

    Args:
        images: uint8 (0..255) or floating point (0..1) [h, w, 3] or [n, h, w, 3]; of a tensor the
            channels may stand before the sides; PIL images; a list of any of these; an object with
            such `images`, as a pipeline returns it. What is not finite is kept.
        name: what a message calls them.

    Raises:
        LatentcyError: they are no images, none at all, of different sizes, or in another range.
    """
    if hasattr(images, "images") and not isinstance(images, (np.ndarray, torch.Tensor)):
        images = images.images
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        if not len(images):
            raise LatentcyError(
                found=f"no {name}",
                expected="one image or more",
                do="see what the pipeline returned",
            )
        parts = [_array(one, name) for one in images]
        if len({part.shape[1:] for part in parts}) > 1:
            sizes = sorted({f"{part.shape[2]}x{part.shape[1]}" for part in parts})
            raise LatentcyError(
                found=f"{name} of {', '.join(sizes)} pixels",
                expected="images of one size",
                do="compare those of one size at a time",
            )
        return np.concatenate(parts)
    return _array(images, name)


def given_pair(candidate: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as `given_images` gives them. Raises LatentcyError where number or size differ."""
    here, there = (
        given_images(candidate, "candidate images"),
        given_images(reference, "reference images"),
    )
    if here.shape != there.shape:
        found = [f"{len(one)} of {one.shape[2]}x{one.shape[1]} pixels" for one in (here, there)]
        raise LatentcyError(
            found=f"candidate images: {found[0]}; reference images: {found[1]}",
            expected="as many of each, of one size, from the same prompts and starting noise",
            do="generate both with the same settings",
        )
    return here, there


def _array(image: Any, name: str) -> np.ndarray:
    if isinstance(image, torch.Tensor):
        image = image.detach().to("cpu", torch.float32 if image.is_floating_point() else None)
        array = image.numpy()
        if array.ndim in (3, 4) and array.shape[-1] != 3 and array.shape[-3] == 3:
            array = np.moveaxis(array, -3, -1)
    else:
        if hasattr(image, "convert"):  # PIL's
            image = image.convert("RGB")
        try:
            array = np.asarray(image)
        except ValueError:
            array = np.asarray(None)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype.kind not in "uf":
        shape = f"of shape {list(array.shape)} and {array.dtype}" if array.ndim else ""
        raise LatentcyError(
            found=f"{name}: {type(image).__name__} {shape}".strip(),
            expected=_EXPECTED,
            do="hand the images themselves, with three channels",
        )
    if array.dtype.kind == "u":
        return (array.astype(np.float32) / np.iinfo(array.dtype).max).astype(np.float32)
    return _in_range(array.astype(np.float32), name)


def _in_range(array: np.ndarray, name: str) -> np.ndarray:
    seen = array[np.isfinite(array)]
    if seen.size and not (seen.min() >= -_ROUNDING and seen.max() <= 1 + _ROUNDING):
        low, high = float(seen.min()), float(seen.max())
        do = "divide them by 255" if high > 2 else "bring them from -1..1 to 0..1: x / 2 + 0.5"
        raise LatentcyError(
            found=f"{name} with values from {low:.3g} to {high:.3g}",
            expected="floating point values of 0..1, or uint8",
            do=do,
        )
    return array
