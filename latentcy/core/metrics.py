"""What is read from images: every metric's direction, range and unit, in one table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "same"]


@dataclass(frozen=True)
class Metric:
    """A number for each image, or for a set of images (`of` says which).

    Attributes:
        better: "higher", "lower", or "same" where any move away from the reference is a loss.
        low, high: the ends of its range; either may be infinite.
        says: what it sees, in one clause.
        of: "image" | "set".
        equal: the value of an image held against itself; SSIM and its like are ratings of a pair,
            the others are read from one image and their paired value is a difference.
    """

    name: str
    better: Better
    low: float
    high: float
    unit: str
    says: str
    of: Literal["image", "set"] = "image"
    equal: float = 0.0


METRICS: tuple[Metric, ...] = (
    Metric("CLIP", "higher", 0, 100, "100 x cosine", "how well the image fits its prompt"),
    Metric("SSIM", "higher", -1, 1, "", "structure, as in the reference's image", equal=1),
    Metric(
        "PSNR", "higher", -math.inf, 100, "dB", "squared error, 100 for equal images", equal=100
    ),
    Metric(
        "placed SSIM",
        "higher",
        -1,
        1,
        "",
        "SSIM in the window that is worst on average: a seam or a corner damaged in all images",
        equal=1,
    ),
    Metric(
        "local SSIM",
        "higher",
        -1,
        1,
        "",
        "SSIM in each image's own worst window: one damaged image among many",
        equal=1,
    ),
    Metric("brightness", "same", 0, 1, "", "mean luminance"),
    Metric("contrast", "same", 0, 0.5, "", "standard deviation of the luminance"),
    Metric("red", "same", 0, 1, "", "mean of the red channel"),
    Metric("green", "same", 0, 1, "", "mean of the green channel"),
    Metric("blue", "same", 0, 1, "", "mean of the blue channel"),
    Metric("saturation", "same", 0, 1, "", "mean distance of the largest channel to the least"),
    Metric(
        "colour shift",
        "lower",
        0,
        1,
        "",
        "how far the image's mean colour lies from the reference's, whichever way",
    ),
    Metric(
        "sharpness",
        "same",
        -math.inf,
        math.inf,
        "log ratio",
        "high-frequency energy: down by blur, up by noise",
    ),
    Metric("grain", "same", 0, 1, "", "standard deviation of the noise in what should be smooth"),
    Metric(
        "image distance", "lower", 0, 2, "1 - cosine", "a learned distance to the reference's image"
    ),
    Metric("FID", "lower", 0, math.inf, "", "distance of the sets, as two Gaussians", "set"),
    Metric("KID", "lower", -math.inf, math.inf, "", "distance of the sets, without bias", "set"),
)

BY_NAME = {metric.name: metric for metric in METRICS}
