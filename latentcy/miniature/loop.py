"""One training loop for every stage: seeded by step, averaged, checkpointed, resumable."""

import contextlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from latentcy.pipelines.devices.device import emulates, find_device


@dataclass(frozen=True)
class Plan:
    """How a stage trains: optimiser steps, images a step, peak learning rate, EMA decay."""

    stage: str
    steps: int
    batch: int
    learning_rate: float
    decay: float = 0.999
    warm_up: int = 100
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Moment:
    """Where a step stands: its number, progress 0..1, and a generator that is its own."""

    step: int
    progress: float
    generator: torch.Generator

    def pick(self, count: int, batch: int) -> torch.Tensor:
        """`batch` random indices below `count`, int64 [batch]."""
        return torch.randint(0, count, (batch,), generator=self.generator)


def half_precision(device: str) -> AbstractContextManager[Any]:
    """Bfloat16 where the device computes in it; on a CPU that only emulates it, float32.

    Emulated, a step takes 6 to 8 times as long (`latentcy.pipelines.devices.device.emulates`).
    """
    if emulates(find_device(str(device)), "bfloat16"):
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


CHECKPOINT_SECONDS = 120.0
PROGRESS_SECONDS = 20.0


def fit(
    plan: Plan,
    module: nn.Module,
    loss: Callable[[nn.Module, Moment], torch.Tensor],
    *,
    seed: int,
    work: Path,
    say: Callable[[str], None],
) -> nn.Module:
    """Trains `module` by AdamW with a cosine schedule and returns its moving average.

    Every step draws from a generator seeded by (seed, step), so that a resumed run sees the
    same batches as an uninterrupted one. A checkpoint is written under `work` every two
    minutes and at the end; a finished one is loaded instead of trained again.
    """
    averaged = AveragedModel(module, multi_avg_fn=_averaging(plan.decay))
    optimiser = torch.optim.AdamW(
        module.parameters(), plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    checkpoint = work / f"{plan.stage}.pt"
    start = _resume(checkpoint, module, averaged, optimiser)
    if start:
        say(f"{plan.stage}: resumed at step {start} of {plan.steps}")
    began = told = saved = time.monotonic()
    running = None
    module.train()
    for step in range(start, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(plan, step)
        moment = Moment(step, step / plan.steps, torch.Generator().manual_seed(_mix(seed, step)))
        value = loss(module, moment)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        averaged.update_parameters(module)
        running = _smooth(running, value.item())
        now = time.monotonic()
        if now - told > PROGRESS_SECONDS or step + 1 == plan.steps:
            told = now
            left = (now - began) / (step + 1 - start) * (plan.steps - step - 1)
            of = f"{plan.stage}: step {step + 1} of {plan.steps}"
            say(f"{of}, loss {running:.4f}, {left:.0f} s left")
        if now - saved > CHECKPOINT_SECONDS or step + 1 == plan.steps:
            saved = now
            _save(checkpoint, step + 1, module, averaged, optimiser)
    return averaged.module.eval()


def _averaging(decay: float) -> Callable[..., None]:
    """Exponential moving average that forgets its beginnings: about the last tenth of the steps
    counts, until `decay` is reached (the warm-up of TensorFlow's ExponentialMovingAverage)."""

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: object) -> None:
        seen = int(count)  # type: ignore[call-overload]
        weight = 1.0 - min(decay, (1 + seen) / (10 + seen))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)

    return update


def _learning_rate(plan: Plan, step: int) -> float:
    if step < plan.warm_up:
        return plan.learning_rate * (step + 1) / plan.warm_up
    progress = (step - plan.warm_up) / max(1, plan.steps - plan.warm_up)
    return plan.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def _mix(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % 2**63


def _smooth(running: float | None, value: float) -> float:
    return value if running is None else 0.98 * running + 0.02 * value


def _save(path: Path, step: int, module: nn.Module, averaged: nn.Module, optimiser) -> None:
    state = {
        "step": step,
        "module": module.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _resume(path: Path, module: nn.Module, averaged: nn.Module, optimiser) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]
