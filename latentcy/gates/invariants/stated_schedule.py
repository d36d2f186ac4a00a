"""What a model's files, or its own scheduler, and the workload state of one generation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from latentcy.gates.invariants.solver_formulas import DDIM, PNDM
from latentcy.measure.step_probe import as_array
from latentcy.pipelines import loading
from latentcy.pipelines.families import denoiser_of, family_of
from latentcy.pipelines.families.stable_diffusion import SCHEDULER_FILE
from latentcy.pipelines.models import synthetic
from latentcy.pipelines.models.weights import fetch, read_json
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.workload import OWN, starting_latents


class StatedSchedule:
    """What the model's files and the workload state of one generation."""

    def __init__(
        self,
        kind: type,
        config: Mapping[str, Any],
        sampler: Sampler,
        *,
        by_class: bool = False,
    ) -> None:
        work = sampler.workload
        self.kind, self.config, self.guidance = kind, config, work.guidance_scale
        self._sampler = sampler
        self.images = len(work.seeds)
        family = family_of(sampler.pipeline)
        self.rows = self.images * family.guided_rows(sampler.pipeline, work.guidance_scale)
        self.scaling = scaling_factor(sampler)
        formula = {DDIMScheduler: DDIM, PNDMScheduler: PNDM}.get(kind)
        self.is_formula = formula is not None and not config.get("thresholding") and not by_class
        if formula is not None and self.is_formula:
            self._solver: Any = formula(config, work.steps)
        else:
            self._solver = _Fresh(kind, config, work.steps)
        self.timesteps: list[float] = list(self._solver.timesteps)
        self.sigma = float(getattr(self._solver, "sigma", 1.0))  # of DDIM's and PNDM's noise: 1
        self.starting = sigma_noise(sampler) * self.sigma

    def of_the_class(self) -> StatedSchedule:
        """The same by a fresh scheduler of the class in place of our formula."""
        return StatedSchedule(self.kind, self.config, self._sampler, by_class=True)

    def run(self, samples: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the steps make of these."""
        return list(self._solver.run(samples, outputs))

    def scaled(self, place: int, latents: np.ndarray) -> np.ndarray:
        """The latents as the denoiser is given them in a step."""
        scale = getattr(self._solver, "scaled", None)
        return scale(place, latents) if scale else latents


class _Fresh:
    """A scheduler of the same class, made from the stated config alone."""

    def __init__(self, kind: type, config: Mapping[str, Any], steps: int) -> None:
        self._kind, self._config, self._steps = kind, config, steps
        self._scheduler = kind(**config)
        self._scheduler.set_timesteps(steps, device="cpu")
        self.timesteps = self._scheduler.timesteps.tolist()
        self.sigma = float(self._scheduler.init_noise_sigma)

    def run(self, samples: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What each step makes of samples[i] and outputs[i]."""
        return led_through(self._scheduler, self.timesteps, samples, outputs, torch.device("cpu"))

    def scaled(self, place: int, latents: np.ndarray) -> np.ndarray:
        """The latents as the scheduler has them scaled for a step."""
        own = self._kind(**self._config)  # whose count of steps begins anew
        own.set_timesteps(self._steps, device="cpu")
        made = own.scale_model_input(torch.as_tensor(latents), own.timesteps[place])
        return as_array(made)


def scaling_factor(sampler: Sampler) -> float:
    """By which the latents are divided for the decoder, as the autoencoder's own file states."""
    model, tiny = sampler.model, sampler.variant.is_tiny
    if model.synthetic is not None:
        part = model.family.tiny if tiny else model.family.decoder
        stated = synthetic.configuration(model.synthetic, part)
        name = "AutoencoderTiny" if tiny else "AutoencoderKL"
    else:
        own = model.tiny if tiny else None
        folder = fetch(own, download=False) if own else fetch(model.pipeline) / model.family.decoder
        stated = read_json(folder / "config.json")
        name = stated.get("_class_name", "AutoencoderKL")
    default = inspect.signature(getattr(diffusers, name).__init__).parameters["scaling_factor"]
    return float(stated.get("scaling_factor", default.default))


def sigma_noise(sampler: Sampler) -> np.ndarray:
    """The seeds' starting noise, [n, c, h, w] float64, before any scheduler has scaled it."""
    work, pipeline = sampler.workload, sampler.pipeline
    shape = family_of(pipeline).noise_shape(pipeline, work.height, work.width)
    channels, height, width = shape
    noise = starting_latents(work.seeds, channels=channels, height=height, width=width)
    return as_array(noise.to(denoiser_of(pipeline).dtype))


def stated_class(sampler: Sampler) -> tuple[type, Mapping[str, Any]]:
    """The scheduler's class that the case states, and what loading sets of it."""
    if is_own(sampler):
        return type(sampler.pipeline.scheduler), {}
    return loading.SCHEDULER_CLASSES[sampler.workload.scheduler]


def is_own(sampler: Sampler) -> bool:
    """Whether the pipeline's own scheduler is the stated one, whatever a hook has made of it."""
    return sampler.workload.scheduler == OWN


def unlike_the_file(config: Mapping[str, Any], file: Mapping[str, Any]) -> Iterator[str]:
    """What an own scheduler has otherwise than the model's file: told, and no fault."""
    other = [name for name, value in config.items() if name in file and file[name] != value]
    if other:
        first = f"{other[0]} {config[other[0]]!r} for {file[other[0]]!r}"
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        yield f"its own scheduler has {first}{more} of the model's file"


def scheduler_file(sampler: Sampler) -> Mapping[str, Any]:
    if sampler.model.synthetic is not None:
        return SCHEDULER_FILE
    return read_json(fetch(sampler.model.pipeline) / "scheduler" / "scheduler_config.json")


def led_through(
    scheduler: Any, timesteps: Any, samples: Any, outputs: Any, device: torch.device
) -> list[np.ndarray]:
    """What each of the scheduler's steps makes of samples[i] and outputs[i], in fp32."""
    made = []
    chance: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:  # of one that draws noise
        chance["generator"] = torch.Generator("cpu").manual_seed(0)
    for timestep, sample, output in zip(timesteps, samples, outputs, strict=True):
        given = [
            torch.as_tensor(one, dtype=torch.float32, device=device) for one in (output, sample)
        ]
        at = timestep if isinstance(timestep, torch.Tensor) else torch.tensor(timestep)
        step = scheduler.step(given[0], at, given[1], return_dict=False, **chance)
        made.append(as_array(step[0]))
    return made
