"""How an image looks as a whole: its tone, its sharpness, its grain. Pure functions of pixels.

SSIM forgives a uniformly dimmed image, and CLIP forgives far more; these do not. Images are float
[n, h, w, 3], 0..1; results are float64 [n], NaN for an image that holds a non-finite value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from latentcy.measure.images.ssim import finite, same_shape

# ITU-R BT.709-6, item 3.2: the luma of gamma-coded red, green and blue.
LUMA = np.array([0.2126, 0.7152, 0.0722])

# Rounding to 8 bits adds noise of variance (1/255)^2 / 12 to a pixel, and the Laplacian's
# coefficients have the sum of squares 20: energy below this is not worth a ratio.
LEAST_ENERGY = 20 * (1 / 255) ** 2 / 12

TONES = ("brightness", "contrast", "red", "green", "blue", "saturation")


def tone(images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean luminance and its standard deviation, each channel's mean, and mean saturation.

    Saturation is the largest channel less the least (the chroma of the HSV hexcone, Smith 1978),
    which unlike HSV's own is steady in the dark.
    """
    return dict(zip(TONES, _each(images, _tone, len(TONES)), strict=True))


def colour_shift(
    tones: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Distance of mean colours: root mean square over red, green and blue, 0..1.

    Unlike a difference it has no sign, so that a red image turned blue and a blue one turned red
    do not cancel in the mean.
    """
    squares = [(tones[name] - reference[name]) ** 2 for name in ("red", "green", "blue")]
    return np.sqrt(np.mean(squares, axis=0))


def detail(images: np.ndarray) -> np.ndarray:
    """High-frequency energy: the mean square of the luminance's Laplacian (4 neighbours).

    The filter works at the scale of a pixel, so that values are compared between images of one
    size only; as a ratio (`sharpness`) they are comparable between sizes.
    """
    return _each(images, _detail)[0]


def sharpness(details: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """log of the image's `detail` over the reference's: below 0 for blur, above it for noise."""
    return np.log((details + LEAST_ENERGY) / (reference + LEAST_ENERGY))


def grain(images: np.ndarray) -> np.ndarray:
    """Standard deviation of the noise in the luminance, 0..1.

    The median magnitude of the finest diagonal Haar coefficients over 0.6745 (Donoho & Johnstone
    1994, Biometrika 81): edges are few, so that the median sees what lies between them.
    """
    return _each(images, _grain)[0]


def _each(
    images: np.ndarray, read: Callable[[np.ndarray], Sequence[float]], count: int = 1
) -> np.ndarray:
    """`count` numbers of each image, float64 [count, n]: one at a time, to save memory."""
    images, _ = same_shape(images, images)
    values = np.full((count, len(images)), np.nan)
    for index in np.flatnonzero(finite(images)):
        values[:, index] = read(np.clip(images[index].astype(np.float64), 0.0, 1.0))
    return values


def _tone(pixels: np.ndarray) -> Sequence[float]:
    luminance = pixels @ LUMA
    chroma = pixels.max(axis=-1) - pixels.min(axis=-1)
    return (luminance.mean(), luminance.std(), *pixels.mean(axis=(0, 1)), chroma.mean())


def _detail(pixels: np.ndarray) -> Sequence[float]:
    luminance = pixels @ LUMA
    beside = luminance[1:-1, :-2] + luminance[1:-1, 2:]
    above = luminance[:-2, 1:-1] + luminance[2:, 1:-1]
    return [((beside + above - 4 * luminance[1:-1, 1:-1]) ** 2).mean()]


def _grain(pixels: np.ndarray) -> Sequence[float]:
    height, width = (side - side % 2 for side in pixels.shape[:2])
    even = pixels[:height, :width] @ LUMA
    diagonal = even[::2, ::2] - even[::2, 1::2] - even[1::2, ::2] + even[1::2, 1::2]
    return [np.median(np.abs(diagonal / 2)) / 0.6745]
