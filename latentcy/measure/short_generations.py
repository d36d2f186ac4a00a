"""A few images of a case in a few steps, as the invariants compare them."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps
from latentcy.pipelines.workload import ASTRONAUT, VASE

STEPS = 4  # of the sampler, or as many as the workload has, where those are fewer
SEEDS = (2023, 2024, 2025)


@contextlib.contextmanager
def brief(sampler: Sampler, steps: int | None = STEPS) -> Iterator[Sampler]:
    """The same sampler with at most `steps` steps; None leaves the workload's own.

    Afterwards the scheduler and the random states of torch, numpy and Python are as before.
    """
    fewer = None if steps is None else min(steps, sampler.workload.steps)
    with _randomness_kept(sampler.device), with_few_steps(sampler, fewer) as short:
        yield short


def prompts(sampler: Sampler) -> tuple[str, str, str]:
    """Three prompts of different lengths, the workload's own first."""
    first = sampler.workload.prompt
    second = VASE if first != VASE else ASTRONAUT
    return first, second, "a red circle"


def draw(sampler: Sampler, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """The images of prompts[i] from seeds[i] in one call, float32 [n, height, width, 3]."""
    return sampler.generate(list(prompts), tuple(seeds)).images


def draw_singly(sampler: Sampler, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """The same images by one call each."""
    pairs = zip(prompts, seeds, strict=True)
    return np.concatenate([draw(sampler, [prompt], [seed]) for prompt, seed in pairs])


def with_steps(sampler: Sampler, steps: int) -> Sampler:
    """The same sampler with another number of steps; what it leaves in the scheduler stays."""
    other = copy.copy(sampler)
    other.workload = replace(sampler.workload, steps=steps)
    return other


def batch_limit(sampler: Sampler) -> int:
    """The most images that the invariants draw in one call of this case."""
    return min(len(SEEDS), sampler.variant.observed_batch or len(SEEDS))


def reseed(seed: int) -> None:
    """Set the global random states of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states() -> dict[str, bytes]:
    """The global random states, by whose they are; equal where the same would be drawn next."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr([np.asarray(each).tobytes() for each in np.random.get_state()]).encode(),
        "Python": repr(random.getstate()).encode(),
    }


@contextlib.contextmanager
def _randomness_kept(device: Device) -> Iterator[None]:
    python, arrays = random.getstate(), np.random.get_state()
    accelerators = [device.index] if device.kind == "cuda" else []
    with torch.random.fork_rng(devices=accelerators):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
