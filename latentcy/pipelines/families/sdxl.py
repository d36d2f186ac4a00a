"""Stable Diffusion XL, its turbo and Lightning models among them: all that is particular to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from latentcy.pipelines.families.family import Family, StageCall, StageShapes
from latentcy.pipelines.families.stable_diffusion import guided_rows, image_size, noise_shape

GUIDANCE = 5.0  # the default of diffusers' StableDiffusionXLPipeline


def _guidance_scale(size: int) -> float:
    return GUIDANCE


def _embeddings(pipeline: Any, prompts: Sequence[str]) -> torch.Tensor:
    made = pipeline.encode_prompt(
        list(prompts),
        device=pipeline._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    return made[0].float().cpu()


def _stage_calls(pipeline: Any, shapes: StageShapes) -> dict[str, tuple[StageCall, ...]]:
    """Both text encoders; the UNet with its size and pooled text; the autoencoder."""
    positions = pipeline.tokenizer.model_max_length
    size, rows = (shapes.height, shapes.width), shapes.images * shapes.rows
    pooled = pipeline.text_encoder_2.config.projection_dim
    # Of the absent prompt the embeddings are zeros, which no encoder has to make.
    texts = 1 if pipeline.config.force_zeros_for_empty_prompt else shapes.rows

    def encode(encoder: Any) -> Any:
        return encoder(torch.zeros((texts, positions), dtype=torch.long, device="meta"))

    def denoise(unet: Any) -> Any:
        sample = torch.empty((rows, unet.config.in_channels, *size), device="meta")
        width = unet.config.cross_attention_dim
        text = torch.empty((rows, positions, width), device="meta")
        added = {
            "text_embeds": torch.empty((rows, pooled), device="meta"),
            "time_ids": torch.zeros((rows, 6), device="meta"),  # sizes before, cut and asked for
        }
        timestep = torch.zeros((), device="meta")
        return unet(sample, timestep, text, added_cond_kwargs=added)

    def decode(vae: Any) -> Any:
        channels = vae.config.latent_channels
        return vae.decode(torch.empty((shapes.images, channels, *size), device="meta"))

    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    return {
        "text_encoding": tuple(StageCall(each, encode) for each in encoders),
        "step": (StageCall(pipeline.unet, denoise),),
        "decoding": (StageCall(pipeline.vae, decode),),
    }


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
    embeddings=_embeddings,
    stage_calls=_stage_calls,
)
