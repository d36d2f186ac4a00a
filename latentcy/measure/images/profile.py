"""The quality profile of a case: what its images are like, alone and against a reference's.

`read` looks at a case's images once; `compare` holds two readings against each other, prompt by
prompt, where both began from the same noise. The gates on a profile are in
`latentcy.gates.ssim_and_clip` and `latentcy.gates.image_quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from latentcy.core.metrics import BY_NAME
from latentcy.measure.images import appearance
from latentcy.measure.images.distribution import (
    LEAST_IMAGES,
    Distribution,
    distribution,
    image_distance,
)
from latentcy.measure.images.ssim import Window, psnr, same_shape, structure
from latentcy.stats.noninferiority import lost, paired

if TYPE_CHECKING:
    from latentcy.measure.images.clip import ClipScorer
    from latentcy.pipelines.variants.variant import Tolerance

    Limits = Mapping[str, Tolerance]

ALONE = ("CLIP", *appearance.TONES, "grain")  # read from one image; paired as a difference


@dataclass(frozen=True)
class Reading:
    """What was read from a case's n images.

    Attributes:
        images: float32 [n, h, w, 3], 0..1.
        values: metric name -> float64 [n]; "CLIP" only where there is a scorer.
        detail: high-frequency energy, float64 [n].
        embeddings: float64 [n, d] of the scorer; None where there is none.
    """

    images: np.ndarray
    values: Mapping[str, np.ndarray]
    detail: np.ndarray
    embeddings: np.ndarray | None = None

    def part(self, which: slice) -> Reading:
        """The reading of some of the images."""
        return Reading(
            self.images[which],
            {name: values[which] for name, values in self.values.items()},
            self.detail[which],
            None if self.embeddings is None else self.embeddings[which],
        )


@dataclass(frozen=True)
class Profile:
    """Metric name -> float64 [n], for a case and against its reference.

    Attributes:
        values: what is read from each image alone.
        reference: the same, of the reference's images; empty where there is none.
        against: each image against the reference's of the same prompt and noise: a difference, or a
            rating of the pair such as SSIM. NaN where either image is not finite.
        placed: the window that is worst in the mean over the images.
        worst: each image's own worst window.
        distribution: of the two sets; None below 500 images, and without a scorer.
    """

    values: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)
    against: Mapping[str, np.ndarray] = field(default_factory=dict)
    placed: Window | None = None
    worst: tuple[Window, ...] = ()
    distribution: Distribution | None = None

    @property
    def images(self) -> int:
        """Their number."""
        return len(self.values["brightness"])

    def losses(self, name: str) -> np.ndarray:
        """The paired values less that of equal images: 0 where nothing changed."""
        return self.against[name] - BY_NAME[name].equal

    def to_dict(self) -> dict[str, Any]:
        """A short summary: for each metric mean, 99 % bounds, worst value and number of images.

        NaN where a value is not finite; with one image the bounds are infinite.
        """
        summary: dict[str, Any] = {
            "images": self.images,
            "alone": {name: _summary(name, values) for name, values in self.values.items()},
            "against": {name: _summary(name, values) for name, values in self.against.items()},
        }
        if self.placed is not None:
            summary["placed"] = str(self.placed)
        if self.distribution is not None:
            summary["distribution"] = {"FID": self.distribution.fid, "KID": self.distribution.kid}
        elif self.against:
            summary["distribution"] = {"not judged": self.without_distribution}
        return summary

    @property
    def without_distribution(self) -> str:
        """Why FID and KID were not read, in one clause."""
        if "image distance" not in self.against:
            return "there is no scorer"
        return f"{self.images} images are fewer than the {LEAST_IMAGES} that FID and KID need"


def profile(
    images: np.ndarray,
    reference_images: np.ndarray | None = None,
    scorer: ClipScorer | None = None,
    prompts: Sequence[str] = (),
) -> Profile:
    """Everything that is known of `images`, and of how they differ from the reference's.

    Args:
        images: float32 [n, h, w, 3], 0..1, at least 11 pixels on each side.
        reference_images: the same shape, from the same prompts and noise; None for none.
        scorer: for CLIP, image distance and distribution; None leaves them out.
        prompts: n texts, where there is a scorer.

    Raises:
        ValueError: shapes or numbers that do not fit.
    """
    reading = read(images, scorer, prompts)
    if reference_images is None:
        return Profile(reading.values)
    return compare(reading, read(reference_images, scorer, prompts))


def read(
    images: np.ndarray, scorer: ClipScorer | None = None, prompts: Sequence[str] = ()
) -> Reading:
    """Look at a case's images once. Raises ValueError as `profile` does."""
    images, _ = same_shape(images, images)
    values = {**appearance.tone(images), "grain": appearance.grain(images)}
    embeddings = None
    if scorer is not None:
        values = {"CLIP": scorer.scores(images, prompts), **values}
        embeddings = scorer.embeddings(images)
    return Reading(images, values, appearance.detail(images), embeddings)


def compare(reading: Reading, reference: Reading) -> Profile:
    """A case's reading against its reference's, image by image, and as sets.

    Raises:
        ValueError: the images differ in number or size, or are too small for SSIM.
    """
    seen = structure(reading.images, reference.images)
    placed, in_place = seen.placed
    worst, local = seen.worst
    against = {
        "SSIM": seen.ssim,
        "PSNR": psnr(reading.images, reference.images),
        "placed SSIM": in_place,
        "local SSIM": local,
        **_differences(reading, reference),
    }
    sets = None
    if reading.embeddings is not None and reference.embeddings is not None:
        against["image distance"] = image_distance(reading.embeddings, reference.embeddings)
        sets = distribution(reading.embeddings, reference.embeddings)
    return Profile(reading.values, reference.values, against, placed, worst, sets)


def _differences(reading: Reading, reference: Reading) -> dict[str, np.ndarray]:
    differences = {
        name: reading.values[name] - reference.values[name]
        for name in ALONE
        if name in reading.values and name in reference.values
    }
    differences["colour shift"] = appearance.colour_shift(reading.values, reference.values)
    differences["sharpness"] = appearance.sharpness(reading.detail, reference.detail)
    return differences


def _summary(name: str, values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"n": 0}
    seen = paired(values)
    losses = values - BY_NAME[name].equal
    worst = values[int(np.argmax(lost(name, losses)))]  # of NaN, numpy takes the first
    return {
        "mean": seen.mean,
        "low": seen.low,
        "high": seen.high,
        "worst": float(worst),
        "n": seen.n,
    }
