"""Images that depend on what stands beside them in the batch, or on where the work is done."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from latentcy.faults.changes import (
    attentions,
    on_decoded,
    on_embeddings,
    on_noise,
    on_predicted,
    through,
)
from latentcy.faults.fault import Fault


def first_prompt_for_all(pipeline: Any) -> None:
    """Every image of a batch is of the first prompt."""
    on_embeddings(pipeline, lambda text, empty: (text[:1].expand_as(text), empty))


def normalise_over_batch(pipeline: Any) -> None:
    """A group norm takes its mean and spread over the whole batch."""
    for module in pipeline.unet.modules():
        if isinstance(module, nn.GroupNorm):

            def forward(hidden: torch.Tensor, norm: nn.GroupNorm = module) -> torch.Tensor:
                rows = hidden.transpose(0, 1).reshape(1, hidden.shape[1], -1)
                made = functional.group_norm(
                    rows, norm.num_groups, norm.weight, norm.bias, norm.eps
                )
                return made.reshape(hidden.shape[1], hidden.shape[0], *hidden.shape[2:]).transpose(
                    0, 1
                )

            module.forward = forward


def other_noise_behind_first(pipeline: Any) -> None:
    """Only the first image of a batch starts from its seed's noise."""

    def changed(latents: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(11)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        return torch.cat([latents[:1], noise[1:]])

    on_noise(pipeline, changed)


def broken_above_two(pipeline: Any) -> None:
    """A kernel for larger batches is a little off."""
    on_predicted(pipeline, lambda noise, t: 0.97 * noise if len(noise) > 4 else noise)


def neighbour_shines_through(pipeline: Any) -> None:
    """A little of the next image of the batch is in each."""
    on_decoded(pipeline, lambda image: 0.96 * image + 0.04 * image.roll(1, dims=0))


def differ_when_sliced(pipeline: Any) -> None:
    """Sliced attention leaves the last slice out."""
    out = [layer.to_out[0] for layer in attentions(pipeline.unet)]
    whole = [layer.weight.data.clone() for layer in out]

    def slices(original: Any, size: Any) -> Any:
        for layer, weight in zip(out, whole, strict=True):
            layer.weight.data.copy_(weight)
            if size is not None:
                layer.weight.data[:, -(weight.shape[1] // 4) :] = 0
        return original(size)

    through(pipeline.unet, "set_attention_slice", slices)


def differ_when_decoded_singly(pipeline: Any) -> None:
    """Decoding one by one gives every image the spread of its own."""

    def decode(original: Any, z: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        sliced = pipeline.vae.use_slicing and len(z) > 1
        return original(0.9 * z if sliced else z, *rest, **settings)

    through(pipeline.vae, "decode", decode)


ALONE = ("batch",)
FAULTS = (
    Fault(
        "batch-mixed",
        "The images of a batch are handed out in another order.",
        "Amblyopius/Stable-Diffusion-ONNX-FP16#20",
        lambda pipeline: on_decoded(pipeline, lambda image: image.roll(1, dims=0)),
        (*ALONE, "CLIP"),
        "batch|CLIP",
    ),
    Fault(
        "first-prompt-for-all",
        "Every image of a batch is of its first prompt.",
        "Amblyopius/Stable-Diffusion-ONNX-FP16#20",
        first_prompt_for_all,
        (*ALONE, "CLIP"),
        "batch|CLIP",
    ),
    Fault(
        "batch-normalised",
        "Group norms work over the whole batch.",
        "huggingface/diffusers#11016",
        normalise_over_batch,
        ALONE,
        "batch",
    ),
    Fault(
        "noise-behind-first",
        "Only the first image of a batch starts from its own seed.",
        "huggingface/diffusers#6218",
        other_noise_behind_first,
        (*ALONE, "seed"),
        "batch|seed",
    ),
    Fault(
        "larger-batch-off",
        "Batches of more than two are a little off.",
        "facebookresearch/xformers#719",
        broken_above_two,
        ALONE,
        "batch",
    ),
    Fault(
        "neighbour-shines-through",
        "Each image holds 4 % of its neighbour in the batch.",
        "AUTOMATIC1111/stable-diffusion-webui#376",
        neighbour_shines_through,
        ALONE,
        "batch",
    ),
    Fault(
        "sliced-attention-differs",
        "Attention slicing gives another image.",
        "huggingface/diffusers#1552",
        differ_when_sliced,
        ("placement",),
        "slic",
    ),
    Fault(
        "sliced-decoding-differs",
        "Decoding image by image gives another image.",
        "huggingface/diffusers#11540",
        differ_when_decoded_singly,
        ("placement",),
        "slic",
    ),
)
