"""Is an image broken? Black, flat, foggy, or born of non-finite values; and who blacked it?

Latents and raw decoder output are looked at before the pixels, because a clamp, a cast to
integers or a safety checker can turn a NaN into an innocent black pixel. An image of pure noise is
not looked for here: its spread is healthy, and CLIP, SSIM and the profile see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

ALIKE_SHARE = 0.999
"""Share of an image's pixels that must be alike before it is called black or flat. The rest, one
pixel in a thousand, is about 4 pixels at 64x64: less than any object that can be recognised."""

BLACK_LEVEL = 8 / 255
"""A pixel is black when no channel is above this (on the scale 0..1)."""

FLAT_SPREAD = 3 / 255
"""A pixel is alike when no channel is further than this from the channel's median (0..1)."""

FOG_RANGE = 0.22
"""An image is low in contrast when no channel ranges over more than this (0..1), but for the
extreme thousandth at either end. A healthy image that spans the whole scale and is reduced to a
fifth of its contrast ranges over 0.2. The least of 3,000 drawn scenes of the miniature's world
ranges over 0.278, the least of 512 generated ones (6 variants, 5 to 8 steps) over 0.349."""

FOG_CONTRAST = 0.5
"""... and when its Michelson contrast, (high - low) / (high + low), is at most this in every
channel: a dark scene has a small range as well, but reaches down to black, where fog does not."""


@dataclass(frozen=True)
class ImageHealth:
    """One image's state.

    Attributes:
        ok: whether it is sound.
        reason: why not, in words; "" for a sound one.
        index: its place among the images.
        detail: what was measured.
        kind: "non-finite", "flat" (black, flat or low in contrast where it was decoded), "after
            decoding" (the decoded image was sound), or "".
        flagged: whether the pipeline's safety checker flagged it.
    """

    ok: bool
    reason: str = ""
    index: int | None = None
    detail: str = ""
    kind: str = ""
    flagged: bool = False


def look(
    images: np.ndarray,
    latents: np.ndarray | None = None,
    decoded: np.ndarray | None = None,
    flagged: Sequence[bool] | None = None,
) -> tuple[ImageHealth, ...]:
    """Look at every image and at what it was made of.

    Args:
        images: [n, h, w, 3], nominally 0..1, before any rounding.
        latents: [n, c, h, w] handed to the decoder, or None where they were not captured.
        decoded: [n, 3, h, w] raw decoder output, nominally -1..1, or None where it was not
            captured.
        flagged: [n] what the safety checker said, or None where it said nothing.

    Returns:
        One ImageHealth per image, in order. `reason` begins with "non-finite latents",
        "non-finite decoder output", "non-finite pixels", "black", "flat", "low contrast",
        "blacked after decoding", "flattened after decoding" or "flagged"; the earliest cause wins.
        What was broken before the safety checker saw it is numerical, whatever the flag says.

    Raises:
        ValueError: the arrays do not describe the same number of images.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must have the shape [n, h, w, 3], not {list(images.shape)}")
    for name, array in (("latents", latents), ("decoded", decoded), ("flags", flagged)):
        if array is not None and len(array) != len(images):
            raise ValueError(f"{len(images)} images but {len(array)} of {name}")
    return tuple(
        _look_at_one(
            index,
            image,
            None if latents is None else latents[index],
            None if decoded is None else decoded[index],
            None if flagged is None else bool(flagged[index]),
        )
        for index, image in enumerate(images)
    )


def pixel_fault(image: np.ndarray) -> tuple[str, str] | None:
    """What is wrong with finite pixels [h, w, 3] of 0..1, and what was measured; None if nothing.

    The former is "black", "flat" or "low contrast".
    """
    pixels = np.clip(image.reshape(-1, 3).astype(np.float64), 0, 1)
    black = float((pixels.max(axis=1) <= BLACK_LEVEL).mean())
    if black >= ALIKE_SHARE:
        return "black", f"{black:.2%} of the pixels are at most {BLACK_LEVEL:.3f}"
    distance = np.abs(pixels - np.median(pixels, axis=0)).max(axis=1)
    alike = float((distance <= FLAT_SPREAD).mean())
    if alike >= ALIKE_SHARE:
        return "flat", f"{alike:.2%} of the pixels are within {FLAT_SPREAD:.3f} of one colour"
    low, high = np.quantile(pixels, [1 - ALIKE_SHARE, ALIKE_SHARE], axis=0)
    spans, contrast = (high - low).max(), ((high - low) / np.maximum(high + low, 1e-6)).max()
    if spans <= FOG_RANGE and contrast <= FOG_CONTRAST:
        detail = f"no channel ranges over more than {spans:.3f} of the scale ({FOG_RANGE} is fog)"
        return "low contrast", detail
    return None


def as_pixels(decoded: np.ndarray) -> np.ndarray:
    """Raw decoder output [3, h, w], nominally -1..1, as the pixels [h, w, 3] that it stands for."""
    return np.clip(np.asarray(decoded, dtype=np.float64) / 2 + 0.5, 0, 1).transpose(1, 2, 0)


def _look_at_one(
    index: int, image: np.ndarray, latents: Any, decoded: Any, flagged: bool | None
) -> ImageHealth:
    though = ": numerical, though flagged as NSFW" if flagged else ""
    broken = ImageHealth(False, index=index, flagged=bool(flagged))
    stages = (
        ("non-finite latents", latents),
        ("non-finite decoder output", decoded),
        ("non-finite pixels", image),
    )
    for reason, values in stages:
        finite = None if values is None else np.isfinite(values)
        if finite is not None and not finite.all():
            detail = f"{(~finite).sum()} of {finite.size} values are NaN or infinite"
            return replace(broken, reason=reason + though, detail=detail, kind="non-finite")

    fault = pixel_fault(image)
    if fault is None:
        if flagged and decoded is not None and _is_raw(image, decoded):
            reason = "flagged as NSFW and left as raw decoder output, though not blacked"
            return replace(broken, reason=reason, kind="after decoding")
        return replace(broken, ok=True)
    if decoded is None:
        unknown = ", flagged as NSFW (what was decoded is not known)" if flagged else ""
        return replace(broken, reason=fault[0] + unknown, detail=fault[1], kind="flat")
    if pixel_fault(as_pixels(decoded)) is not None:
        return replace(broken, reason=fault[0] + though, detail=fault[1], kind="flat")
    verb = "blacked" if fault[0] == "black" else "flattened"
    by = ", by the safety checker (flagged)" if flagged else ", although no flag was raised"
    reason = f"{verb} after decoding{by}"
    return replace(broken, reason=reason, detail=fault[1], kind="after decoding")


def _is_raw(image: np.ndarray, decoded: np.ndarray) -> bool:
    """Whether the image is the decoder's output without the step from -1..1 to 0..1."""
    raw = np.asarray(decoded).transpose(1, 2, 0)
    return image.shape == raw.shape and bool(np.abs(image - raw).max() <= 1e-6)
