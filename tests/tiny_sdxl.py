"""A tiny random Stable Diffusion XL in diffusers folders, for tests; its images mean nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tiny import SIZE, WIDTH, build_tokenizer, text_config


def build_tiny_sdxl(root: Path, *, seed: int = 0) -> Path:
    """Writes the pipeline's folder into `root`, with weights drawn from `seed`; returns it."""
    tokenizer = build_tokenizer(root / "tokenizer")
    text = CLIPTextConfig(**text_config(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            vae=AutoencoderKL(
                block_out_channels=(4, 4, 4, 4),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                norm_num_groups=2,
                sample_size=SIZE,
            ),
            text_encoder=CLIPTextModel(text),
            text_encoder_2=CLIPTextModelWithProjection(text),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=SIZE // 8,
                block_out_channels=(8, 16),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=2 * WIDTH,
                attention_head_dim=(2, 4),
                norm_num_groups=2,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="leading",
            ),
        )
        with torch.no_grad():  # drawn at random it would hardly listen to the prompt
            for name, weights in pipeline.unet.named_parameters():
                if "attn2.to_v" in name:
                    weights.mul_(30.0)
        pipeline.save_pretrained(root / "pipeline")
    return root / "pipeline"
