"""Building blocks of variants: each changes a loaded pipeline in place; `stacked` joins them.

A recipe is a function of the pipeline, or makes one. Those that wrap a module's forward are nested
in the order in which they are stacked, the last one outermost: compile, then capture in a graph,
then hoist. Global switches that a recipe sets hold for its variant alone
(latentcy.pipelines.devices.global_switches).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from latentcy.pipelines.optimizations.compilation import compiled, compiled_regions
from latentcy.pipelines.optimizations.cuda_graphs import graphed
from latentcy.pipelines.optimizations.deepcache import deep_cached
from latentcy.pipelines.optimizations.forward_wrapping import wrap
from latentcy.pipelines.optimizations.hoisting import hoisted, host_scheduled

__all__ = [
    "Recipe",
    "attention",
    "channels_last",
    "compiled",
    "compiled_regions",
    "cudnn_benchmark",
    "deep_cached",
    "eager_attention",
    "fused_qkv",
    "graphed",
    "hoisted",
    "host_scheduled",
    "model_offload",
    "quantised",
    "stacked",
    "vae_slicing",
    "vae_tiling",
    "xformers_attention",
]

Recipe = Callable[[Any], None]

_BACKENDS = {
    "math": "MATH",
    "efficient": "EFFICIENT_ATTENTION",
    "flash": "FLASH_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
}


def stacked(*recipes: Recipe) -> Recipe:
    """One recipe that applies all of them, in order."""

    def stack(pipeline: Any) -> None:
        for recipe in recipes:
            recipe(pipeline)

    return stack


def eager_attention(pipeline: Any) -> None:
    """The UNet's attention as two matrix products and a softmax, the whole matrix in memory."""
    from diffusers.models.attention_processor import AttnProcessor

    pipeline.unet.set_attn_processor(AttnProcessor())


def attention(*backends: str) -> Recipe:
    """Torch's scaled dot product attention in the UNet, by these back ends alone.

    "math", "efficient", "flash" or "cudnn". The first that can do a shape is taken; where none
    can, torch raises RuntimeError. Several need torch 2.6, which knows an order among them.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen = [getattr(SDPBackend, _BACKENDS[name]) for name in backends]
    order = {"set_priority": True} if len(chosen) > 1 else {}

    def recipe(pipeline: Any) -> None:
        def within(forward: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
            with sdpa_kernel(chosen, **order):
                return forward(*arguments, **settings)

        wrap(pipeline.unet, within)

    return recipe


def xformers_attention(pipeline: Any) -> None:
    """The UNet's attention by xformers."""
    pipeline.unet.enable_xformers_memory_efficient_attention()


def channels_last(pipeline: Any) -> None:
    """UNet and autoencoder with the channels innermost in memory, as tensor cores take them."""
    for module in (pipeline.unet, pipeline.vae):
        module.to(memory_format=torch.channels_last)


def fused_qkv(pipeline: Any) -> None:
    """One projection for query, key and value in the UNet, one for key and value of the text."""
    with torch.no_grad():
        pipeline.unet.fuse_qkv_projections()


def cudnn_benchmark(pipeline: Any) -> None:
    """cuDNN times its convolutions for each shape once and keeps the fastest."""
    torch.backends.cudnn.benchmark = True


def vae_slicing(pipeline: Any) -> None:
    """Images are decoded one by one."""
    pipeline.vae.enable_slicing()


def vae_tiling(pipeline: Any) -> None:
    """Images are decoded in overlapping tiles of half their side.

    The autoencoder's own tiles are as large as the images that it was trained on, and would
    leave those whole.
    """
    vae = pipeline.vae
    vae.enable_tiling()
    vae.tile_sample_min_size //= 2
    vae.tile_latent_min_size //= 2


def model_offload(pipeline: Any) -> None:
    """Text encoder, UNet and decoder are on the accelerator only while they run (accelerate)."""
    pipeline.enable_model_cpu_offload(device=pipeline.device)


def quantised(kind: str) -> Recipe:
    """The UNet's linear layers with weights of "int8" or "fp8" (float8 e4m3), by torchao."""

    def recipe(pipeline: Any) -> None:
        from torchao import quantization

        names = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8WeightOnlyConfig"}
        quantization.quantize_(pipeline.unet, getattr(quantization, names[kind])(), _is_linear)

    return recipe


def _is_linear(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear)
