"""How far images lie from others that should be the same: typically, at worst, in brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentcy.measure.images.ssim import same_shape, structure


@dataclass(frozen=True)
class ImageDifferences:
    """Of n images against n others, image by image, float64 [n]. NaN where one is not finite.

    Attributes:
        rms: root of the mean squared difference of the pixels, on the scale 0..1.
        ssim: structural similarity, -1..1.
        brightness: natural logarithm of the ratio of the mean values; 0.01 is 1 % brighter.
    """

    rms: np.ndarray
    ssim: np.ndarray
    brightness: np.ndarray

    @property
    def typical(self) -> float:
        """The median RMS: what one image that came out quite differently does not move."""
        return float(np.median(self.rms))

    @property
    def worst(self) -> int:
        """The place of the image that is least like its own; of what is not finite the first."""
        return int(np.argmin(np.where(np.isfinite(self.ssim), self.ssim, -np.inf)))

    @property
    def shift(self) -> float:
        """The mean change of brightness, signed."""
        return float(self.brightness.mean())


def image_differences(images: np.ndarray, others: np.ndarray) -> ImageDifferences:
    """The differences of `images` from `others`, float [n, h, w, 3], nominally 0..1.

    Raises ValueError where they differ in number or size, or are smaller than SSIM's window of 11
    pixels.
    """
    images, others = same_shape(images, others)
    here, there = images.astype(np.float64), others.astype(np.float64)
    axes = (1, 2, 3)
    dark = 1e-3  # of a black image, whose brightness has no logarithm
    return ImageDifferences(
        rms=np.sqrt(((here - there) ** 2).mean(axis=axes)),
        ssim=np.asarray(structure(images, others).ssim, dtype=np.float64),
        brightness=np.log((here.mean(axis=axes) + dark) / (there.mean(axis=axes) + dark)),
    )
