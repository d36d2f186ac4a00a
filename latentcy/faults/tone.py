"""Grey, dim, tinted and otherwise wrong in brightness, contrast or colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from latentcy.faults.changes import on_decoded, on_latents, through
from latentcy.faults.fault import Fault, Prepare

Change = Callable[[torch.Tensor], torch.Tensor]


def scaled(factor: float) -> Prepare:
    """The autoencoder's scaling factor times `factor`."""

    def prepare(pipeline: Any) -> None:
        own = pipeline.vae.config.scaling_factor
        pipeline.vae.register_to_config(scaling_factor=own * factor)

    return prepare


def unscaled(pipeline: Any) -> None:
    """Latents decoded as they are: the factor of another autoencoder, 1."""
    pipeline.vae.register_to_config(scaling_factor=1.0)


def seen(change: Change) -> Prepare:
    """A change of the finished image, [n, 3, height, width] in 0..1."""
    return lambda pipeline: on_decoded(pipeline, lambda image: change(image / 2 + 0.5) * 2 - 1)


def tinted(image: torch.Tensor) -> torch.Tensor:
    return image + torch.tensor([0.06, 0.0, -0.06], dtype=image.dtype)[:, None, None]


def grey(image: torch.Tensor) -> torch.Tensor:
    return 0.4 * image + 0.6 * image.mean(1, keepdim=True)


def keep_range(pipeline: Any) -> None:
    """-1..1 taken for 0..1: what is darker than grey becomes black."""

    def finish(original: Any, image: torch.Tensor, **settings: Any) -> Any:
        return original(image, **settings | {"do_denormalize": [False] * len(image)})

    through(pipeline.image_processor, "postprocess", finish)


def shift_latents(pipeline: Any) -> None:
    """The shift factor of another autoencoder."""
    on_latents(pipeline, lambda latents: latents + 0.4)


SHOWN = ("tone", "SSIM", "image distance")
FAULTS = (
    Fault(
        "scaling-doubled",
        "The scaling factor is twice what it should be, which makes images grey.",
        "madebyollin/taesd#20",
        scaled(2.0),
        (*SHOWN, "schedule", "CLIP"),
        "contrast|scaling|SSIM|image distance",
    ),
    Fault(
        "scaling-a-fifth-more",
        "The scaling factor is a fifth too large.",
        "madebyollin/taesd#20",
        scaled(1.2),
        (*SHOWN, "schedule"),
        "contrast|scaling|SSIM|image distance",
    ),
    Fault(
        "scaling-missing",
        "Latents are decoded without being divided by the scaling factor.",
        "madebyollin/taesd#20",
        unscaled,
        (*SHOWN, "schedule"),
        "contrast|scaling|SSIM|image distance",
    ),
    Fault(
        "dimmed",
        "All images are a tenth darker.",
        "diffusers tests/pipelines: a cosine distance is 0 for a uniformly dimmed image",
        seen(lambda image: 0.9 * image),
        ("tone",),
        "brightness|red|green",
    ),
    Fault(
        "washed-out",
        "All images have seven tenths of their contrast.",
        "vladmandic/sdnext#2824",
        seen(lambda image: 0.7 * image + 0.15),
        ("tone",),
        "contrast|saturation",
    ),
    Fault(
        "tinted",
        "All images are redder and less blue by six hundredths.",
        "huggingface/diffusers#7013",
        seen(tinted),
        ("tone",),
        "red|blue",
    ),
    Fault(
        "desaturated",
        "All images have two fifths of their colour.",
        "AUTOMATIC1111/stable-diffusion-webui#6074",
        seen(grey),
        ("tone", "CLIP"),
        "saturation|CLIP",
    ),
    Fault(
        "channels-swapped",
        "Red and blue change places.",
        "deforum/sd-webui-deforum#8",
        seen(lambda image: image.flip(1)),
        ("tone", "CLIP", "image distance"),
        "colour|CLIP|red|blue|image distance",
    ),
    Fault(
        "gamma",
        "Gamma is applied to what has it already.",
        "vladmandic/sdnext#2824",
        seen(lambda image: image.clamp(0, 1) ** (1 / 1.6)),
        ("tone",),
        "bright|green",
    ),
    Fault(
        "inverted",
        "Dark and bright change places.",
        "deforum/sd-webui-deforum#8",
        seen(lambda image: 1 - image),
        (*SHOWN, "CLIP"),
        "SSIM|brightness|colour|CLIP",
    ),
    Fault(
        "range-kept",
        "Values of -1..1 are taken for 0..1.",
        "huggingface/diffusers#4676",
        keep_range,
        (*SHOWN, "black images"),
        "brightness|green|SSIM|black",
    ),
    Fault(
        "latents-shifted",
        "Latents are decoded with another autoencoder's shift.",
        "huggingface/diffusers, AutoencoderKL: shift_factor",
        shift_latents,
        SHOWN,
        "SSIM|red|green|blue|brightness|contrast|image distance",
    ),
)
