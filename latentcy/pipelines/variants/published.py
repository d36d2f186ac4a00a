"""The published variants: what a run measures where none is named."""

from __future__ import annotations

from latentcy.core.quality_limits import (
    BF16,
    NOTHING,
    OTHER_WEIGHTS,
    TF32_OR_FP16,
    TINY_DECODER,
    Quality,
)
from latentcy.pipelines.variants.variant import Variant

# In the order of the published tables; bf16 and autocast stand beside them.
# Half precision and tf32 are promised to be no slower only where there is hardware for them.
FAST_ARITHMETIC = ("cuda",)

BUILTIN: tuple[Variant, ...] = (
    Variant(
        name="baseline",
        changes="Nothing: all weights and arithmetic in fp32, tf32 off.",
        ssim_reference=None,
        quality=NOTHING,
    ),
    Variant(
        name="tf32",
        no_slower_on=FAST_ARITHMETIC,
        changes="Matrix products and convolutions in tf32.",
        tf32=True,
        quality=TF32_OR_FP16,
    ),
    Variant(
        name="fp16",
        no_slower_on=FAST_ARITHMETIC,
        changes="All weights and arithmetic in float16.",
        dtype="float16",
        quality=TF32_OR_FP16,
    ),
    Variant(
        name="combined",
        no_slower_on=FAST_ARITHMETIC,
        changes="float16, and tf32 for what is left in fp32.",
        dtype="float16",
        tf32=True,
        quality=TF32_OR_FP16,
    ),
    Variant(
        name="bf16",
        no_slower_on=FAST_ARITHMETIC,
        changes="All weights and arithmetic in bfloat16.",
        dtype="bfloat16",
        quality=BF16,
    ),
    Variant(
        name="autocast",
        no_slower_on=FAST_ARITHMETIC,
        changes="fp32 weights under torch.autocast, which the documentation warns of.",
        autocast="float16",
        cpu_autocast="bfloat16",
        quality=BF16,
        control=True,
    ),
    Variant(
        name="baseline",
        group="distillation",
        changes="Nothing: the full UNet and autoencoder, in float16 (fp32 on a CPU).",
        dtype="float16",
        cpu_dtype="float32",
        ssim_reference=None,
        quality=NOTHING,
    ),
    Variant(
        name="distilled",
        group="distillation",
        changes="The distilled UNet.",
        dtype="float16",
        cpu_dtype="float32",
        unet="distilled",
        ssim_reference=None,
        quality=Quality(clip_drop=OTHER_WEIGHTS),
    ),
    Variant(
        name="distilled-tiny-vae",
        group="distillation",
        changes="The distilled UNet, and the tiny autoencoder.",
        dtype="float16",
        cpu_dtype="float32",
        unet="distilled",
        vae="tiny",
        ssim_reference="distilled",
        quality=Quality(ssim=TINY_DECODER, clip_drop=OTHER_WEIGHTS),
    ),
)
