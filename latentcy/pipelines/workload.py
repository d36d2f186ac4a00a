"""What is generated: the published workloads and their starting noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from latentcy.core.errors import LatentcyError


@dataclass(frozen=True)
class Workload:
    """One generation: a prompt, one seed for each image, and how it is sampled."""

    name: str
    prompt: str
    seeds: tuple[int, ...]
    steps: int
    scheduler: str  # a name in SCHEDULERS, or OWN
    guidance_scale: float
    height: int  # pixels
    width: int  # pixels
    repeats: int  # generations timed per measurement


# DDIM and PNDM are the published tables'; the others need fewer steps: DPM-Solver++ (Lu et al.
# 2022; second order, multistep), the same with the step sizes of Karras et al. (2022), and UniPC
# (Zhao et al. 2023).
SCHEDULERS = ("ddim", "pndm", "dpm", "dpm-karras", "unipc")
OWN = "own"  # the scheduler that the model's files name, or that a variant's hook installs

ASTRONAUT = "a photo of an astronaut riding a horse on mars"
VASE = "a golden vase with different flowers"
PUBLISHED_PROMPTS = (ASTRONAUT, VASE)

# diffusers documentation v0.30.2, "Speed up inference": table A is one image by 50 DDIM steps,
# table B four images by 25 PNDM steps with each generation repeated 3 times.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "single": {
        "prompt": ASTRONAUT,
        "seeds": (2023,),
        "steps": 50,
        "scheduler": "ddim",
        "repeats": 1,
    },
    "batch": {
        "prompt": ASTRONAUT,
        "seeds": (2023, 2024, 2025, 2026),
        "steps": 25,
        "scheduler": "pndm",
        "repeats": 3,
    },
}


def workload(
    name: str,
    *,
    height: int,
    width: int,
    guidance_scale: float,
    steps: int | None = None,
    scheduler: str | None = None,
) -> Workload:
    """The published workload `name` ("single" or "batch") at this size in pixels.

    `steps` and `scheduler` take the place of the published ones, for a variant that has its own.
    Raises LatentcyError for another name.
    """
    if name not in _PUBLISHED:
        raise LatentcyError(
            found=f"a workload named {name!r}",
            expected=f"one of {', '.join(_PUBLISHED)}",
            do="use one of those names",
        )
    published = Workload(
        name=name,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        **_PUBLISHED[name],
    )
    return replace(
        published,
        steps=steps or published.steps,
        scheduler=scheduler or published.scheduler,
    )


def starting_latents(
    seeds: Sequence[int], *, channels: int, height: int, width: int
) -> torch.Tensor:
    """Unit Gaussian noise, float32 on the CPU, [len(seeds), channels, height, width].

    `height` and `width` are in latent units. Each image has its own generator, so image i
    depends on seeds[i] alone, whatever stands beside it in the batch; being made on the CPU
    in float32 it is the same for every variant and every device.
    """
    return draw_latents(generators(seeds), channels=channels, height=height, width=width)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One for each seed, on the CPU."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def draw_latents(
    drawn_by: Sequence[torch.Generator], *, channels: int, height: int, width: int
) -> torch.Tensor:
    """The next unit Gaussian noise of each generator, as `starting_latents` gives it.

    Afterwards the generators stand where a pipeline's own do when its steps begin.
    """
    shape = (channels, height, width)
    noise = [torch.randn(shape, generator=each, dtype=torch.float32) for each in drawn_by]
    return torch.stack(noise)
