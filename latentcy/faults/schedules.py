"""Schedulers, timesteps and numbers of steps that are not those that were asked for."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, PNDMScheduler

from latentcy.faults.changes import scheduled, through
from latentcy.faults.fault import Fault, Prepare


def timesteps(change: Any) -> Prepare:
    """The scheduler's timesteps changed after they were set."""

    def prepare(pipeline: Any) -> None:
        def set_timesteps(original: Any, *arguments: Any, **settings: Any) -> None:
            original(*arguments, **settings)
            pipeline.scheduler.timesteps = change(pipeline.scheduler.timesteps)

        through(pipeline.scheduler, "set_timesteps", set_timesteps)

    return prepare


def other_number(factor: float) -> Prepare:
    """The scheduler sets `factor` times the steps that it is asked for."""

    def prepare(pipeline: Any) -> None:
        def set_timesteps(original: Any, steps: int, *rest: Any, **settings: Any) -> None:
            original(max(1, round(factor * steps)), *rest, **settings)

        through(pipeline.scheduler, "set_timesteps", set_timesteps)

    return prepare


def same_timestep(pipeline: Any) -> None:
    """The UNet is told the same timestep in every step."""

    def forward(original: Any, sample: torch.Tensor, timestep: Any, *rest: Any, **more: Any) -> Any:
        return original(sample, torch.full_like(torch.as_tensor(timestep), 500), *rest, **more)

    through(pipeline.unet, "forward", forward)


def off_by_one_train_step(pipeline: Any) -> None:
    """The previous timestep is one training step away from what the spacing says."""

    def step(original: Any, noise: torch.Tensor, timestep: Any, *rest: Any, **more: Any) -> Any:
        return original(noise, (timestep - 60).clamp(min=0), *rest, **more)

    through(pipeline.scheduler, "step", step)


def reuse_prediction(pipeline: Any) -> None:
    """Every second call of the UNet gives out what the one before gave."""
    kept: list[Any] = []

    def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
        if kept:
            return kept.pop()
        kept.append(original(*arguments, **settings))
        return kept[0]

    through(pipeline.unet, "forward", forward)


def other_scheduler(kind: Any, **settings: Any) -> Prepare:
    """Another scheduler than the one that was asked for."""

    def prepare(pipeline: Any) -> None:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **settings)

    return prepare


def noisy_end(pipeline: Any) -> None:
    """The last steps change nothing."""

    def step(original: Any, noise: torch.Tensor, timestep: Any, sample: torch.Tensor, **more: Any):
        if timestep <= pipeline.scheduler.timesteps[-2]:
            return (sample,)
        return original(noise, timestep, sample, **more)

    through(pipeline.scheduler, "step", step)


SAMPLED = ("schedule", "SSIM", "image distance")
FAULTS = (
    Fault(
        "v-prediction",
        "A model that predicts noise is run as one that predicts velocity.",
        "invoke-ai/InvokeAI#7495",
        scheduled(prediction_type="v_prediction"),
        (*SAMPLED, "CLIP"),
        "prediction|SSIM|CLIP",
    ),
    Fault(
        "default-betas",
        "The scheduler has its class's default betas.",
        "huggingface/diffusers#557",
        scheduled(beta_start=0.0001, beta_end=0.02, beta_schedule="linear"),
        SAMPLED,
        "beta|SSIM",
    ),
    Fault(
        "clip-sample",
        "The scheduler clips what it takes for the finished latents.",
        "huggingface/diffusers#557",
        scheduled(clip_sample=True),
        SAMPLED,
        "clip_sample|SSIM",
    ),
    Fault(
        "steps-offset",
        "The timesteps start at 0 where the model was trained with an offset of 1.",
        "huggingface/diffusers#465",
        scheduled(steps_offset=0),
        SAMPLED,
        "steps_offset|timestep|SSIM",
    ),
    Fault(
        "trailing-spacing",
        "The timesteps are spaced from the other end.",
        "huggingface/diffusers#9261",
        scheduled(timestep_spacing="trailing"),
        SAMPLED,
        "spacing|timestep|SSIM",
    ),
    Fault(
        "wrong-previous-step",
        "The scheduler steps from another timestep than the UNet was told.",
        "huggingface/diffusers#9384",
        off_by_one_train_step,
        SAMPLED,
        "timestep|SSIM",
    ),
    Fault(
        "constant-timestep",
        "The UNet is told the same timestep in every step.",
        "a traced UNet whose timestep has become a constant",
        same_timestep,
        (*SAMPLED, "CLIP"),
        "timestep|SSIM|CLIP",
    ),
    Fault(
        "last-step-skipped",
        "The last timestep is left out.",
        "huggingface/diffusers#5689",
        timesteps(lambda steps: steps[:-1]),
        SAMPLED,
        "UNet|call|step|SSIM",
    ),
    Fault(
        "noise-left",
        "The last two steps change nothing, so that their noise stays.",
        "huggingface/diffusers#5689",
        noisy_end,
        (*SAMPLED, "sharpness"),
        "SSIM|nois|sharp",
    ),
    Fault(
        "half-the-steps",
        "Half of the steps that were asked for are made.",
        "lllyasviel/Fooocus#925",
        other_number(0.5),
        SAMPLED,
        "UNet|call|step|SSIM",
    ),
    Fault(
        "twice-the-steps",
        "Twice the steps that were asked for are made, which costs twice the time.",
        "huggingface/diffusers#8880",
        other_number(2.0),
        ("schedule", "operators"),
        "UNet|call|step",
    ),
    Fault(
        "predictions-reused",
        "Every second prediction is that of the step before.",
        "a cache of predictions, as DeepCache keeps one, that is never refreshed in time",
        reuse_prediction,
        SAMPLED,
        "UNet|call|step|SSIM",
    ),
    Fault(
        "wrong-scheduler",
        "Euler's scheduler runs where DDIM was asked for.",
        "a scheduler taken from another model's folder",
        other_scheduler(EulerDiscreteScheduler),
        SAMPLED,
        "chedule|SSIM|Euler",
    ),
    Fault(
        "one-call-more",
        "PNDM runs where DDIM was asked for, which calls the UNet once more.",
        "diffusers, PNDMScheduler: 9 calls for 8 steps",
        other_scheduler(PNDMScheduler, skip_prk_steps=True),
        SAMPLED,
        "UNet|call|chedule|PNDM|SSIM",
    ),
)
