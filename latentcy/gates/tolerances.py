"""How far each metric may move: the table, by how close a variant stays to its reference.

The values are derived: `python -m latentcy.studies.tolerances` measures how far healthy changes
move the embedded miniature's images, and `docs/tolerances.md` shows what was seen. SSIM and CLIP
are not here, since each variant states its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from latentcy.gates.same_images import SameImages
from latentcy.pipelines.variants.variant import Quality, Tolerance

# A limit for the mean over the images has the metric's name, one for a single image this ending.
ONE = " of one"

NEAR, CLOSE, LOOSE, COARSE, OTHER = "near", "close", "loose", "coarse", "other"

# The least SSIM that a variant promises, and what it makes the variant.
FLOORS = ((0.98, NEAR), (0.95, CLOSE), (0.90, LOOSE))

# What the healthy changes of a kind are.
HEALTHY = {
    NEAR: "other batch sizes, and fp16",
    CLOSE: "bf16, and autocast to bf16",
    LOOSE: "20 steps of another scheduler, and DeepCache",
    COARSE: "the tiny autoencoder, and tiled decoding",
    OTHER: "the distilled UNet",
}

_MEASURED = "by what rounding does to the miniature's images (docs/own-repository.md)"
# What rounding may do to images of the same weights, steps and noise, by the coarsest arithmetic in
# use. Of 192 images in 25 steps another kernel, batch or layout in fp32 moved the median by less
# than 1e-6 and bf16 by 0.0022, bf16's worst image kept SSIM 0.83; the least of 48 dead attention
# heads moves it by 0.0025, a dimming of 2 % by 0.012, a shift of one pixel by 0.051
# (python -m latentcy.studies.same_images).
SAME_IMAGES: Mapping[str, SameImages] = {
    "float32": SameImages(0.001, 0.98, 0.005, f"judged as fp32 {_MEASURED}"),
    "tf32": SameImages(0.003, 0.90, 0.01, f"judged as tf32 {_MEASURED}"),
    "float16": SameImages(0.003, 0.90, 0.01, f"judged as fp16 {_MEASURED}"),
    "bfloat16": SameImages(0.006, 0.75, 0.012, f"judged as bf16 {_MEASURED}"),
}


def bounds(kind: str) -> Mapping[str, Tolerance]:
    """What variants of a kind may lose, by metric: 0 or more, in the metric's own unit.

    A key is a metric's name for the mean over the images, or the name and " of one" for any single
    image. What is not there is not judged. KeyError for an unknown kind.

    - near: the same weights and noise, fp32, tf32 or fp16 (SSIM of at least 0.98 promised);
    - close: bf16 and the like (at least 0.95);
    - loose: fewer steps, caches (at least 0.90);
    - coarse: another decoder, tiles (any SSIM promised);
    - other: other weights, so nothing pixel by pixel.
    """
    return {
        name: Tolerance(value, _reason(kind, how)) for name, (value, how) in _TABLE[kind].items()
    }


def kind_of(quality: Quality) -> str | None:
    """The kind that a variant's promises make it; None where it promises neither SSIM nor CLIP."""
    if quality.ssim is not None:
        return next((kind for floor, kind in FLOORS if quality.ssim.value >= floor), COARSE)
    return OTHER if quality.clip_drop is not None else None


def _reason(kind: str, how: str) -> str:
    seen = f"{HEALTHY[kind]} on the miniature (docs/tolerances.md)"
    if how == _SEEN:
        return f"a multiple of what was seen of {seen}; not yet measured on Stable Diffusion"
    return f"the least width, as less was seen of {seen}; not yet measured on Stable Diffusion"


_SEEN, _LEAST = "seen", "least"

_TABLE: Mapping[str, Mapping[str, tuple[float, str]]] = {
    NEAR: {
        "placed SSIM": (0.05, _LEAST),
        "local SSIM" + ONE: (0.2, _LEAST),
        "brightness": (0.01, _LEAST),
        "contrast": (0.01, _LEAST),
        "red": (0.01, _LEAST),
        "green": (0.01, _LEAST),
        "blue": (0.01, _LEAST),
        "saturation": (0.01, _LEAST),
        "colour shift": (0.015, _LEAST),
        "sharpness": (0.1, _LEAST),
        "grain": (0.004, _LEAST),
        "image distance": (0.01, _LEAST),
        "brightness" + ONE: (0.04, _LEAST),
        "contrast" + ONE: (0.04, _LEAST),
        "saturation" + ONE: (0.04, _LEAST),
        "colour shift" + ONE: (0.04, _LEAST),
        "sharpness" + ONE: (0.4, _LEAST),
        "grain" + ONE: (0.012, _LEAST),
        "image distance" + ONE: (0.1, _LEAST),
        "FID": (0.005, _LEAST),
        "KID": (0.005, _LEAST),
    },
    CLOSE: {
        "placed SSIM": (0.075, _LEAST),
        "local SSIM" + ONE: (0.3, _LEAST),
        "brightness": (0.015, _LEAST),
        "contrast": (0.015, _LEAST),
        "red": (0.015, _LEAST),
        "green": (0.015, _LEAST),
        "blue": (0.015, _LEAST),
        "saturation": (0.015, _LEAST),
        "colour shift": (0.023, _LEAST),
        "sharpness": (0.15, _LEAST),
        "grain": (0.006, _LEAST),
        "image distance": (0.015, _LEAST),
        "brightness" + ONE: (0.06, _LEAST),
        "contrast" + ONE: (0.06, _LEAST),
        "saturation" + ONE: (0.071, _SEEN),
        "colour shift" + ONE: (0.06, _LEAST),
        "sharpness" + ONE: (0.6, _LEAST),
        "grain" + ONE: (0.018, _LEAST),
        "image distance" + ONE: (0.15, _LEAST),
        "FID": (0.0075, _LEAST),
        "KID": (0.0075, _LEAST),
    },
    LOOSE: {
        "placed SSIM": (0.1, _LEAST),
        "local SSIM" + ONE: (0.4, _LEAST),
        "brightness": (0.02, _LEAST),
        "contrast": (0.02, _LEAST),
        "red": (0.02, _LEAST),
        "green": (0.02, _LEAST),
        "blue": (0.02, _LEAST),
        "saturation": (0.02, _LEAST),
        "colour shift": (0.03, _LEAST),
        "sharpness": (0.2, _LEAST),
        "grain": (0.008, _LEAST),
        "image distance": (0.02, _LEAST),
        "brightness" + ONE: (0.08, _LEAST),
        "contrast" + ONE: (0.08, _LEAST),
        "saturation" + ONE: (0.08, _LEAST),
        "colour shift" + ONE: (0.08, _LEAST),
        "sharpness" + ONE: (0.8, _LEAST),
        "grain" + ONE: (0.024, _LEAST),
        "image distance" + ONE: (0.2, _LEAST),
        "FID": (0.01, _LEAST),
        "KID": (0.01, _LEAST),
    },
    COARSE: {
        "placed SSIM": (0.85, _SEEN),
        "brightness": (0.027, _SEEN),
        "contrast": (0.024, _SEEN),
        "red": (0.02, _LEAST),
        "green": (0.032, _SEEN),
        "blue": (0.031, _SEEN),
        "saturation": (0.033, _SEEN),
        "colour shift": (0.054, _SEEN),
        "sharpness": (1.5, _SEEN),
        "grain": (0.008, _LEAST),
        "image distance": (0.19, _SEEN),
        "brightness" + ONE: (0.087, _SEEN),
        "contrast" + ONE: (0.08, _LEAST),
        "saturation" + ONE: (0.099, _SEEN),
        "colour shift" + ONE: (0.08, _LEAST),
        "sharpness" + ONE: (3.3, _SEEN),
        "grain" + ONE: (0.024, _LEAST),
        "image distance" + ONE: (0.47, _SEEN),
        "FID": (0.013, _SEEN),
        "KID": (0.01, _LEAST),
    },
    OTHER: {
        "brightness": (0.022, _SEEN),
        "contrast": (0.02, _LEAST),
        "red": (0.028, _SEEN),
        "green": (0.025, _SEEN),
        "blue": (0.027, _SEEN),
        "saturation": (0.02, _LEAST),
        "colour shift": (0.036, _SEEN),
        "sharpness": (0.39, _SEEN),
        "grain": (0.008, _LEAST),
        "FID": (0.013, _SEEN),
        "KID": (0.01, _LEAST),
    },
}
