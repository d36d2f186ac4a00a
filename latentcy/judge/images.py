"""Is an image broken? Black, flat, or born of non-finite values.

Latents and raw decoder output are looked at before the pixels, because a clamp, a cast to
integers or a safety checker can turn a NaN into an innocent black pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ALIKE_SHARE = 0.999
"""Share of an image's pixels that must be alike before it is called black or flat. The rest, one
pixel in a thousand, is about 4 pixels at 64x64: less than any object that can be recognised."""

BLACK_LEVEL = 8 / 255
"""A pixel is black when no channel is above this (on the scale 0..1)."""

FLAT_SPREAD = 3 / 255
"""A pixel is alike when no channel is further than this from the channel's median (0..1)."""


@dataclass(frozen=True)
class ImageHealth:
    """One image's state: `ok`, or the `reason` why not, with the `detail` that was measured."""

    ok: bool
    reason: str = ""
    index: int | None = None
    detail: str = ""


def look(
    images: np.ndarray,
    latents: np.ndarray | None = None,
    decoded: np.ndarray | None = None,
) -> tuple[ImageHealth, ...]:
    """Look at every image and at what it was made of.

    Args:
        images: [n, h, w, 3], nominally 0..1, before any rounding.
        latents: [n, c, h, w] handed to the decoder, or None where they were not captured.
        decoded: [n, 3, h, w] raw decoder output, or None where it was not captured.

    Returns:
        One ImageHealth per image, in order. `reason` is one of "non-finite latents",
        "non-finite decoder output", "non-finite pixels", "black", "flat"; the earliest cause wins.

    Raises:
        ValueError: the arrays do not describe the same number of images.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must have the shape [n, h, w, 3], not {list(images.shape)}")
    for name, array in (("latents", latents), ("decoded", decoded)):
        if array is not None and len(array) != len(images):
            raise ValueError(f"{len(images)} images but {len(array)} of {name}")
    return tuple(
        _look_at_one(
            index,
            image,
            None if latents is None else latents[index],
            None if decoded is None else decoded[index],
        )
        for index, image in enumerate(images)
    )


def _look_at_one(index: int, image: np.ndarray, latents: Any, decoded: Any) -> ImageHealth:
    stages = (
        ("non-finite latents", latents),
        ("non-finite decoder output", decoded),
        ("non-finite pixels", image),
    )
    for reason, values in stages:
        finite = None if values is None else np.isfinite(values)
        if finite is not None and not finite.all():
            detail = f"{(~finite).sum()} of {finite.size} values are NaN or infinite"
            return ImageHealth(False, reason, index, detail)

    pixels = image.reshape(-1, 3).astype(np.float64)
    black = float((pixels.max(axis=1) <= BLACK_LEVEL).mean())
    if black >= ALIKE_SHARE:
        detail = f"{black:.2%} of the pixels are at most {BLACK_LEVEL:.3f}"
        return ImageHealth(False, "black", index, detail)
    distance = np.abs(pixels - np.median(pixels, axis=0)).max(axis=1)
    alike = float((distance <= FLAT_SPREAD).mean())
    if alike >= ALIKE_SHARE:
        detail = f"{alike:.2%} of the pixels are within {FLAT_SPREAD:.3f} of one colour"
        return ImageHealth(False, "flat", index, detail)
    return ImageHealth(True, index=index)
