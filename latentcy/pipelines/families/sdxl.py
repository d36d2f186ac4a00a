"""Stable Diffusion XL, its turbo and Lightning models among them: all that is particular to it."""

from __future__ import annotations

from typing import Any

import torch

from latentcy.pipelines.families.family import Family, StageCall, StageShapes
from latentcy.pipelines.families.stable_diffusion import (
    embeddings,
    guided_rows,
    image_size,
    noise_shape,
    stage_calls,
)

GUIDANCE = 5.0  # the default of diffusers' StableDiffusionXLPipeline


def _guidance_scale(size: int) -> float:
    return GUIDANCE


def _stage_calls(pipeline: Any, shapes: StageShapes) -> dict[str, tuple[StageCall, ...]]:
    """Both text encoders; the UNet with its size and pooled text; the autoencoder."""
    rows = shapes.images * shapes.rows
    pooled = pipeline.text_encoder_2.config.projection_dim
    added = {
        "text_embeds": torch.empty((rows, pooled), device="meta"),
        "time_ids": torch.zeros((rows, 6), device="meta"),  # sizes before, cut and asked for
    }
    # Of the absent prompt the embeddings are zeros, which no encoder has to make.
    texts = 1 if pipeline.config.force_zeros_for_empty_prompt else shapes.rows
    return stage_calls(pipeline, shapes, texts=texts, added=added)


SDXL = Family(
    name="sdxl",
    pipeline_class="StableDiffusionXLPipeline",
    denoiser="unet",
    decoder="vae",
    text_encoders=("text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    encode="encode_prompt",
    left_out={"feature_extractor": None, "image_encoder": None, "add_watermarker": False},
    upcasts_decoder=True,
    distilled="unet-distilled",
    tiny="vae-tiny",
    image_size=image_size,
    guidance_scale=_guidance_scale,
    guided_rows=guided_rows,
    noise_shape=noise_shape,
    embeddings=embeddings,
    stage_calls=_stage_calls,
)
