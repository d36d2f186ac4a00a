"""Writes the trained parts as the folders that diffusers and transformers load, in fp16."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from latentcy.miniature.denoiser import scheduler
from latentcy.miniature.scorer import IMAGE_MEAN, IMAGE_STD


def export(
    out: Path,
    *,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    tiny: AutoencoderTiny,
    unet: UNet2DConditionModel,
    distilled: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    scorer: CLIPModel,
) -> int:
    """Writes `pipeline/`, `unet-distilled/`, `vae-tiny/` and `scorer/`; returns their bytes."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    parts = {"unet-distilled": distilled, "vae-tiny": tiny, "scorer": scorer}
    for name in ("pipeline", *parts):
        shutil.rmtree(out / name, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(out / "pipeline")
    for name, part in parts.items():
        part.to(torch.float16).save_pretrained(out / name)
    tokenizer.save_pretrained(out / "scorer")
    _image_processor().save_pretrained(out / "scorer")
    for config in out.rglob("config.json"):
        _forget_origin(config)
    return sum(file.stat().st_size for file in out.rglob("*.safetensors"))


def _forget_origin(config: Path) -> None:
    """Takes out the folder that a part was loaded from, which names the training machine."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(
        size={"shortest_edge": 64},
        crop_size={"height": 64, "width": 64},
        image_mean=list(IMAGE_MEAN),
        image_std=list(IMAGE_STD),
    )
