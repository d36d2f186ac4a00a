"""A tiny random Stable Diffusion in diffusers folders, for tests: it loads, and means nothing.

`build_tiny(root)` writes pipeline/, unet-distilled/, vae-tiny/ and scorer/, in the layout of
the embedded miniature, in well under a megabyte and about a second.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIZE = 64  # pixels; latents are SIZE / 8
POSITIONS = 48  # enough for the published prompts, a token a letter
WIDTH = 16


def build_tiny(root: Path, *, seed: int = 0) -> Path:
    """Write the four folders into `root`, with weights drawn from `seed`; returns `root`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = build_tokenizer(root / "scorer")
        _pipeline(tokenizer).save_pretrained(root / "pipeline", safe_serialization=True)
        _unet(mid_block=None).save_pretrained(root / "unet-distilled")
        _tiny_autoencoder().save_pretrained(root / "vae-tiny")
        torch.manual_seed(seed + 1)  # its scores do not hang on what was drawn before it
        _scorer(tokenizer).save_pretrained(root / "scorer")
    (root / "scorer" / "preprocessor_config.json").write_text(json.dumps(_IMAGE_PROCESSOR))
    return root


_IMAGE_PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "size": {"shortest_edge": SIZE},
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """One token a letter: CLIP's own file format, with no merges."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.-'"
    tokens = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": POSITIONS,
                "bos_token": "<|startoftext|>",
                "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
            }
        )
    )
    return CLIPTokenizer.from_pretrained(folder)


def text_config(tokenizer: CLIPTokenizer) -> dict:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": WIDTH,
    }


def _pipeline(tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        unet=_unet(mid_block="UNetMidBlock2DCrossAttn"),
        vae=AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=2,
            sample_size=SIZE,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text_config(tokenizer))),
        tokenizer=tokenizer,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _unet(*, mid_block: str | None) -> UNet2DConditionModel:
    """As few modules as there can be: a step of a small model costs what its modules' calls do."""
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=mid_block,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=2,
    )
    with torch.no_grad():  # drawn at random it would hardly listen to the prompt
        for name, weights in unet.named_parameters():
            if "attn2.to_v" in name:
                weights.mul_(10.0)
    return unet


def _tiny_autoencoder() -> AutoencoderTiny:
    model = AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    last = model.decoder.layers[-1]  # drawn at random it gives one flat, nearly black colour
    with torch.no_grad():
        last.weight.mul_(2000.0)
        last.bias.fill_(0.5)
    return model


def _scorer(tokenizer: CLIPTokenizer) -> CLIPModel:
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 16,
        "projection_dim": WIDTH,
    }
    config = CLIPConfig(
        text_config=text_config(tokenizer), vision_config=vision, projection_dim=WIDTH
    )
    return CLIPModel(config)
