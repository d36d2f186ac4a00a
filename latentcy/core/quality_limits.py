"""What a variant promises of its images: limits, each with the reason for its value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """A limit, and why it has this value."""

    value: float
    reason: str


@dataclass(frozen=True)
class Quality:
    """What a variant's images must keep; None where nothing is promised."""

    ssim: Tolerance | None = None  # least mean SSIM (-1..1) against `ssim_reference`
    clip_drop: Tolerance | None = None  # greatest mean paired drop, as share of `reference`'s mean


# CLIP moves by less than a hundredth between batch sizes (BK-SDM's model card: .2675 to .2679).
SAME_SUBJECT = Tolerance(0.02, "same weights and noise: rounding does not change the subject")
SAME_ARITHMETIC = Quality(
    ssim=Tolerance(
        0.999, "fp32 in another order keeps 1.0000 on the miniature; not yet measured on a GPU"
    ),
    clip_drop=SAME_SUBJECT,
)
TF32_OR_FP16 = Quality(
    ssim=Tolerance(
        0.98, "fp16 keeps 0.9999 on the miniature; not yet measured on Stable Diffusion"
    ),
    clip_drop=SAME_SUBJECT,
)
BF16 = Quality(
    ssim=Tolerance(
        0.95, "8 bits of mantissa: 0.998 on the miniature; not yet measured on Stable Diffusion"
    ),
    clip_drop=SAME_SUBJECT,
)
OTHER_WEIGHTS = Tolerance(0.15, "BK-SDM-Small's card states .2677 against .2958, a drop of 9.5 %")
TINY_DECODER = Tolerance(
    0.80, "same latents, another decoder: 0.93 on the miniature, whose small shapes blur"
)
NOTHING = Quality()


def promise_of(arithmetic: str, *, same_images: bool) -> Quality:
    """What a variant promises that states nothing: its reference's images up to rounding.

    Args:
        arithmetic: the coarsest in use: "float32", "tf32", "float16" or "bfloat16".
        same_images: False where it has other weights or another sampling, whose images differ by
            an amount that only its author can state; then nothing is promised.
    """
    if not same_images:
        return NOTHING
    return {"float32": SAME_ARITHMETIC, "bfloat16": BF16}.get(arithmetic, TF32_OR_FP16)
