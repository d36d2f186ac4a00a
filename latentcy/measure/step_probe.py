"""A generation from inside: what denoiser, scheduler and decoder are given, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from latentcy.measure.flops import uncompiled
from latentcy.pipelines.families import decoder_of, denoiser_of
from latentcy.pipelines.interception import wrapped
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps


@dataclass
class Step:
    """One denoising step: what the denoiser was given and worked on, and the scheduler's part."""

    given: list[np.ndarray] = field(default_factory=list)  # the denoiser's inputs, call by call
    inside: list[np.ndarray] = field(default_factory=list)  # those of its first convolution
    timesteps: list[float] = field(default_factory=list)  # that its time embedding was given
    noise: list[np.ndarray] = field(default_factory=list)  # the denoiser's outputs
    output: np.ndarray = field(default_factory=lambda: np.empty(0))  # that `step` was given
    sample: np.ndarray = field(default_factory=lambda: np.empty(0))
    made: np.ndarray = field(default_factory=lambda: np.empty(0))
    timestep: float = float("nan")
    epsilon: float = 0.0  # of the coarsest dtype among these


@dataclass
class Watched:
    """One generation from inside; all arrays float64."""

    steps: list[Step] = field(default_factory=list)
    decoder: list[np.ndarray] = field(default_factory=list)  # what its `decode` was given
    inside: list[np.ndarray] = field(default_factory=list)  # what its network was given


def watch(sampler: Sampler) -> Watched:
    """One generation of the workload, watched; the hooks are gone when this returns."""
    seen, now = Watched(), Step()
    denoiser, decoder = denoiser_of(sampler.pipeline), decoder_of(sampler.pipeline)

    def into_denoiser(module: nn.Module, arguments: tuple, settings: dict) -> None:
        now.given.append(as_array((*arguments, settings.get("sample"))[0]))
        if getattr(denoiser, "time_proj", None) is None:
            now.timesteps += (
                as_array((*arguments, settings.get("timestep"))[1]).reshape(-1).tolist()
            )

    def out_of_denoiser(module: nn.Module, arguments: Any, output: Any) -> None:
        now.noise.append(as_array(output[0]))

    def into_convolution(module: nn.Module, arguments: tuple) -> None:
        now.inside.append(as_array(arguments[0]))

    def into_time(module: nn.Module, arguments: tuple) -> None:
        now.timesteps += as_array(arguments[0]).reshape(-1).tolist()

    def step(original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        nonlocal now
        names = ("model_output", "timestep", "sample")
        output, timestep, sample = (
            arguments[place] if place < len(arguments) else settings[name]
            for place, name in enumerate(names)
        )
        now.output, now.sample, now.timestep = as_array(output), as_array(sample), float(timestep)
        made = original(*arguments, **settings)
        now.made = as_array(made[0])
        now.epsilon = max(torch.finfo(one.dtype).eps for one in (output, sample, made[0]))
        seen.steps.append(now)
        now = Step()
        return made

    def decode(original: Callable[..., Any], z: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        seen.decoder.append(as_array(z))
        return original(z, *rest, **settings)

    def into_decoder(module: nn.Module, arguments: tuple) -> None:
        seen.inside.append(as_array(arguments[0]))

    with contextlib.ExitStack() as stack:
        short = stack.enter_context(with_few_steps(sampler, None))
        stack.enter_context(uncompiled(set()))
        stack.enter_context(wrapped(sampler.pipeline.scheduler, "step", step))
        stack.enter_context(wrapped(decoder, "decode", decode))
        for handle in (
            denoiser.register_forward_pre_hook(into_denoiser, with_kwargs=True),
            denoiser.register_forward_hook(out_of_denoiser),
            *_pre_hooked(getattr(denoiser, "conv_in", None), into_convolution),
            *_pre_hooked(getattr(denoiser, "time_proj", None), into_time),
            *_pre_hooked(decoder_entrance(decoder), into_decoder),
        ):
            stack.callback(handle.remove)
        short.generate()
    return seen


def decoder_entrance(decoder: Any) -> nn.Module:
    """The module of a decoder that latents meet first on their way to an image."""
    return getattr(decoder, "post_quant_conv", None) or decoder.decoder


def _pre_hooked(module: Any, hook: Callable[..., None]) -> list[Any]:
    return [module.register_forward_pre_hook(hook)] if isinstance(module, nn.Module) else []


def as_array(value: Any) -> np.ndarray:
    return torch.as_tensor(value).detach().to("cpu", torch.float64).numpy()
