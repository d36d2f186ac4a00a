"""A yardstick for the machine: a fixed workload that no change to a pipeline can touch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from latentcy.pipelines.devices.device import Device, free, switches, synchronize

# Stable Diffusion's, for a config that does not say.
SIDE, CHANNELS, CONTEXT = 64, (320, 640, 1280, 1280), 768

TOKENS = 77  # of CLIP's text encoder
BATCH = 2  # with and without the prompt, as classifier-free guidance runs a UNet

# Multiply-adds of one pass, and how often the set of operations is run at least: some tens of
# milliseconds for the miniature on two CPU cores, some milliseconds for Stable Diffusion on a GPU.
WORK = 1_500_000_000
LEAST_TIMES = 3
MOST_TIMES = 200  # for toy models, whose operations are all launch overhead

PASSES = 5


@dataclass(frozen=True)
class Level:
    """One resolution of a UNet: feature maps [BATCH, channels, side, side]."""

    side: int
    channels: int
    context: int  # width of the text encoder's output, [BATCH, TOKENS, context]

    @property
    def multiply_adds(self) -> int:
        """Of the level's one convolution and its two matrix products."""
        pixels = self.side * self.side
        convolution = pixels * self.channels * self.channels * 9
        products = (
            pixels * self.channels * 4 * self.channels + TOKENS * self.context * self.channels
        )
        return BATCH * (convolution + products)


class Yardstick:
    """Convolutions and matrix products of a UNet's shapes, always in true fp32, always as many.

    The work follows from the config alone and the inputs from a seed, so its seconds change only
    with the machine and with torch itself. Between calls no memory is held, so that it does not
    count as the pipeline's.

    Args:
        config: a UNet's, of which sample_size, block_out_channels and cross_attention_dim are
            read where they are there.
        device: to run on.
        seed: of the inputs.
    """

    def __init__(self, config: Any, device: Device, *, seed: int = 0) -> None:
        self.device, self.seed = device, seed
        self.levels = levels(config)
        once = sum(one.multiply_adds for one in self.levels)
        self.times = min(max(LEAST_TIMES, round(WORK / once)), MOST_TIMES)

    def seconds(self) -> float:
        """Median seconds of one pass, after one that warms up.

        Raises RuntimeError where the device has no room for it.
        """
        with torch.inference_mode(), switches(tf32=False):
            inputs = self._inputs()
            self._pass(inputs)
            return statistics.median(self._pass(inputs) for _ in range(PASSES))

    def close(self) -> None:
        """Give the memory that calls have left in torch's cache back to the device."""
        free(self.device)

    def _inputs(self) -> list[tuple[torch.Tensor, ...]]:
        """Per level: maps, kernel, tokens, their projection, text, its projection."""
        generator = torch.Generator(self.device.torch).manual_seed(self.seed)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(
                shape, generator=generator, device=self.device.torch, dtype=torch.float32
            )

        return [
            (
                random(BATCH, one.channels, one.side, one.side),
                random(one.channels, one.channels, 3, 3),
                random(BATCH, one.side * one.side, one.channels),
                random(one.channels, 4 * one.channels),
                random(BATCH, TOKENS, one.context),
                random(one.context, one.channels),
            )
            for one in self.levels
        ]

    def _pass(self, inputs: Sequence[tuple[torch.Tensor, ...]]) -> float:
        """Seconds of the whole set of operations, run `self.times` times."""
        synchronize(self.device)
        started = time.perf_counter()
        for _ in range(self.times):
            for maps, kernel, tokens, widen, text, project in inputs:
                F.conv2d(maps, kernel, padding=1)
                tokens @ widen
                text @ project
        synchronize(self.device)
        return time.perf_counter() - started


def levels(config: Any) -> tuple[Level, ...]:
    """A UNet's resolutions, one for each of block_out_channels, each half the one before."""
    side = max(_sizes(config, "sample_size", (SIDE,)))
    context = max(_sizes(config, "cross_attention_dim", (CONTEXT,)))
    channels = _sizes(config, "block_out_channels", CHANNELS)
    return tuple(Level(max(side >> i, 1), width, context) for i, width in enumerate(channels))


def _sizes(config: Any, name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """A config's value as positive whole numbers; `otherwise` where it holds none such."""
    value = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    sound = sizes and all(type(size) is int and size > 0 for size in sizes)
    return sizes if sound else otherwise
