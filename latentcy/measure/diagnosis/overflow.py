"""Where was the first non-finite value born? And a control that makes one on purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from latentcy.core.errors import UnsuitableError
from latentcy.measure.diagnosis.module_hooks import watch_pipeline
from latentcy.measure.diagnosis.overflow_origin import OverflowOrigin

__all__ = ["OverflowOrigin", "provoke_overflow", "trace_overflow"]


def trace_overflow(
    sampler: Any, prompts: Sequence[str], seeds: Sequence[int]
) -> OverflowOrigin | None:
    """Generate again with a hook on every module, and name the first non-finite output.

    Args:
        sampler: its `pipeline` and its `observe(prompts, seeds)` are used.
        prompts: of the images to repeat.
        seeds: one for each prompt.

    Returns:
        The origin; None where nothing that the pipeline's parts took in, gave out or handed on
        was non-finite.
    """
    with watch_pipeline(sampler.pipeline) as observation:
        sampler.observe(list(prompts), list(seeds))
    return observation.origin


def provoke_overflow(decoder: nn.Module) -> str:
    """Rescale one convolution so that fp32 output is unchanged and fp16 overflows, in place.

    The positive control of the black-image gate. In a decoder's residual block `conv1` feeds the
    group norm `norm2` and nothing else, and a group norm divides any scale out again (but for its
    eps, so fp32 output changes by about eps / variance). The scale is the power of two that takes
    the largest weight to 16384..32768: the weights still fit fp16, their sums do not.

    Args:
        decoder: an AutoencoderKL, on any device, in any dtype.

    Returns:
        The rescaled module's name, as "decoder.mid_block.resnets.0.conv1".

    Raises:
        UnsuitableError: no convolution before a group norm, as in AutoencoderTiny.
    """
    blocks = sorted(decoder.named_modules(), key=lambda item: "mid_block" not in item[0])
    for name, block in blocks:  # the decoder runs its mid block first
        if not name.startswith("decoder.") or not isinstance(
            getattr(block, "norm2", None), nn.GroupNorm
        ):
            continue
        conv = getattr(block, "conv1", None)
        if not isinstance(conv, nn.Conv2d) or getattr(block, "time_emb_proj", None) is not None:
            continue
        with torch.no_grad():
            parameters = [part for part in (conv.weight, conv.bias) if part is not None]
            largest = max(float(part.abs().max()) for part in parameters)
            scale = 2.0 ** math.floor(math.log2(2.0**15 / largest))
            for part in parameters:
                part.mul_(scale)
        return f"{name}.conv1"
    name = type(decoder).__name__
    raise UnsuitableError(f"an autoencoder ({name}) without a convolution before a group norm")
