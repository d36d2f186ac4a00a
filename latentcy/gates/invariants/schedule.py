"""The schedule of a generation: timesteps, UNet calls, steps and scalings, as the files state."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.gates.invariants.solver_formulas import DDIM, PNDM, alphas, stated_config
from latentcy.measure.short_generations import with_steps
from latentcy.measure.step_probe import Watched, as_array, watch
from latentcy.pipelines import loading
from latentcy.pipelines.families import denoiser_of, family_of
from latentcy.pipelines.families.stable_diffusion import SCHEDULER_FILE
from latentcy.pipelines.models import synthetic
from latentcy.pipelines.models.weights import fetch, read_json
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps
from latentcy.pipelines.workload import OWN, starting_latents

GATE = "schedule"
STEP_ERROR = 1e-4  # of a step's own size, in fp32; one timestep beside the right one is 1e-3
ALPHA_ERROR = 1e-3  # of alphas_cumprod; summing in fp32 costs 1e-5
OTHER_STEPS = 7  # of a schedule that is probed beside the workload's
ROUNDING = 8  # times the dtype's epsilon, that a tensor may differ from what it should equal


def schedule_verdict(sampler: Sampler) -> Verdict:
    """Does a generation of the workload take the steps that the model's files state?

    One generation is watched, and the scheduler is led through all steps with numbers of ours,
    also those of a shorter schedule, since what is fitted to one number of steps breaks others. In
    the pipeline are watched: what the UNet works on inside and when (its time embedding, its
    first convolution), the scheduler's `step`, and what reaches the decoder. What is expected
    comes from the model's files and `latentcy.pipelines.loading`: for DDIM and PNDM by formulas of
    our own, for the others from a fresh scheduler of the same class. What is compiled or captured
    runs plainly meanwhile. Noise of a scheduler that draws some is not expected.

    failed names what was found and expected; inconclusive where the values were not finite (then
    only timesteps and counts were judged). The sampler is left as it was.
    """
    scheduler, file = sampler.pipeline.scheduler, _scheduler_file(sampler)
    kind, settings = _stated_class(sampler)
    config = stated_config(kind, scheduler.config if _is_own(sampler) else file, settings)
    if not isinstance(scheduler, kind):
        found = f"the case states {kind.__name__}, and the pipeline runs {type(scheduler).__name__}"
        do = "where that is meant, state scheduler='own' in the variant"
        return Verdict(GATE, FAILED, f"{found}; {do}")
    expected = _Expected(kind, config, sampler)
    notes = [*_unlike_the_file(config, file)] if _is_own(sampler) else []
    with with_few_steps(sampler, None) as same:
        wrong = [*_config_faults(scheduler, config)]
        for one in (same, with_steps(same, OTHER_STEPS)):
            stated = expected if one is same else _Expected(kind, config, one)
            faults = [*_probe_faults(one, stated)] if not wrong else []
            if faults and stated.is_formula and not [*_probe_faults(one, stated.of_the_class())]:
                notes.append(f"{faults[0]}, as diffusers' own class does: {_KNOWN}")
                faults = []
            wrong += faults
    seen = watch(sampler)
    wrong += [*_call_faults(seen, expected), *_decoder_faults(seen, expected)]
    finite = all(np.isfinite(one.made).all() for one in seen.steps)
    if finite:
        wrong += _value_faults(seen, expected)
    if wrong:
        more = f"; and {len(wrong) - _SAID} more" if len(wrong) > _SAID else ""
        return Verdict(GATE, FAILED, "; ".join(wrong[:_SAID]) + more)
    first, last = (_number(expected.timesteps[place]) for place in (0, -1))
    told = (
        f"{len(seen.steps)} steps of {kind.__name__} from timestep {first} to {last}, "
        f"{expected.rows} samples each"
    )
    noted = "".join(f"; {note}" for note in dict.fromkeys(notes))
    if not finite:
        why = f"{told} as stated, but the latents are not finite, so that no value was compared"
        return Verdict(GATE, INCONCLUSIVE, why + noted)
    return Verdict(GATE, PASSED, f"{told}, as the model's files and the workload state{noted}")


_SAID = 3  # faults that a reason tells
# Steps of "trailing" and of numbers that do not divide the training timesteps are taken from other
# timesteps than the papers' formulas give.
_KNOWN = "huggingface/diffusers#12633"


class _Expected:
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

    def of_the_class(self) -> _Expected:
        """The same by a fresh scheduler of the class in place of our formula."""
        return _Expected(self.kind, self.config, self._sampler, by_class=True)

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
        return _led(self._scheduler, self.timesteps, samples, outputs, torch.device("cpu"))

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


def _stated_class(sampler: Sampler) -> tuple[type, Mapping[str, Any]]:
    """The scheduler's class that the case states, and what loading sets of it."""
    if _is_own(sampler):
        return type(sampler.pipeline.scheduler), {}
    return loading.SCHEDULER_CLASSES[sampler.workload.scheduler]


def _is_own(sampler: Sampler) -> bool:
    """Whether the pipeline's own scheduler is the stated one, whatever a hook has made of it."""
    return sampler.workload.scheduler == OWN


def _unlike_the_file(config: Mapping[str, Any], file: Mapping[str, Any]) -> Iterator[str]:
    """What an own scheduler has otherwise than the model's file: told, and no fault."""
    other = [name for name, value in config.items() if name in file and file[name] != value]
    if other:
        first = f"{other[0]} {config[other[0]]!r} for {file[other[0]]!r}"
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        yield f"its own scheduler has {first}{more} of the model's file"


def _scheduler_file(sampler: Sampler) -> Mapping[str, Any]:
    if sampler.model.synthetic is not None:
        return SCHEDULER_FILE
    return read_json(fetch(sampler.model.pipeline) / "scheduler" / "scheduler_config.json")


def _config_faults(scheduler: Any, config: Mapping[str, Any]) -> Iterator[str]:
    for name, stated in config.items():
        found = getattr(scheduler.config, name, stated)
        if found != stated and not (found is None and stated is None):
            yield f"the scheduler's {name} is {found!r}, and the model's files state {stated!r}"
    if not hasattr(scheduler, "alphas_cumprod"):
        return
    found, stated = as_array(scheduler.alphas_cumprod), alphas(config)
    if found.shape != stated.shape:
        yield f"the schedule has {found.size} training timesteps of the stated {stated.size}"
        return
    off = np.flatnonzero(~np.isclose(found, stated, rtol=ALPHA_ERROR, atol=1e-6))
    if off.size:
        at = off[off.size // 2]
        yield (
            f"alphas_cumprod at timestep {at} is {found[at]:.5g}, and the stated betas give "
            f"{stated[at]:.5g} ({off.size} of {stated.size} timesteps differ)"
        )


def _probe_faults(sampler: Sampler, expected: _Expected) -> Iterator[str]:
    """The scheduler's own steps, from fp32 numbers of ours: no rounding hides what is small."""
    scheduler, device = sampler.pipeline.scheduler, sampler.device.torch
    chance = np.random.default_rng(0)
    count, shape = len(expected.timesteps), (1, 4, 8, 8)
    samples, outputs = chance.standard_normal((2, count, *shape)).astype(np.float32)
    scheduler.set_timesteps(sampler.workload.steps, device=device)
    timesteps = scheduler.timesteps
    if len(timesteps) != count:
        yield (
            f"the scheduler makes {len(timesteps)} steps of {sampler.workload.steps} asked for, "
            f"and {count} are expected"
        )
        return
    found = _led(scheduler, timesteps, samples, outputs, device)
    for place, (one, other) in enumerate(zip(found, expected.run(samples, outputs), strict=True)):
        off = _rms(one - other) / _rms(other)
        if not off <= STEP_ERROR:
            at, following = _number(expected.timesteps[place]), "the end"
            if place + 1 < count:
                following = _number(expected.timesteps[place + 1])
            yield (
                f"step {place + 1} of {count} (timestep {at} to {following}) is {off:.2g} of its "
                f"size off {expected.kind.__name__}'s formula ({STEP_ERROR:g} allowed)"
            )
            return


def _call_faults(seen: Watched, expected: _Expected) -> Iterator[str]:
    """Steps, timesteps and the samples that the UNet works on."""
    found, stated = [one.timestep for one in seen.steps], expected.timesteps
    if len(found) != len(stated):
        yield f"the generation took {len(found)} steps, and {len(stated)} are expected"
    for place, (one, at) in enumerate(zip(seen.steps, stated, strict=False), 1):
        wrong = [each for each in (one.timestep, *one.timesteps) if each != at]
        if wrong:
            yield f"step {place} ran at timestep {_number(wrong[0])}, and {_number(at)} is expected"
            break
    for place, one in enumerate(seen.steps, 1):
        asked, worked = (sum(map(len, each)) for each in (one.given, one.inside))
        if asked != expected.rows or worked > expected.rows:
            count = asked if asked != expected.rows else worked
            yield (
                f"in step {place} the UNet worked on {count} samples, and {expected.rows} are "
                f"expected of {expected.images} image(s) at guidance {expected.guidance:g}"
            )
            break


def _value_faults(seen: Watched, expected: _Expected) -> Iterator[str]:
    """What went into the UNet, out of it and from step to step."""
    before, origin = expected.starting, f"the starting noise times {expected.sigma:g}"
    times = expected.rows // expected.images
    for place, one in enumerate(seen.steps, 1):
        allowed = ROUNDING * one.epsilon
        given = np.concatenate([expected.scaled(place - 1, before)] * times)
        for name, found, stated in (
            ("the scheduler was given", one.sample, before),
            ("the UNet worked on", _joined(one.inside), given),
        ):
            if found.shape == stated.shape and not _rms(found - stated) <= allowed * _rms(stated):
                size = f"{_rms(found) / _rms(stated):.3g} times as large"
                apart = f"{_rms(found - stated) / _rms(stated):.2g} of their size apart"
                yield (
                    f"in step {place} {name} other latents ({size}) than {origin}: they are "
                    f"{apart}, and rounding is allowed {allowed:.2g}"
                )
                return
        noise = _joined(one.noise)
        if len(one.noise) == 1 and len(noise) == expected.rows:
            guided = noise
            if times == 2:
                plain, text = np.split(noise, 2)
                guided = plain + expected.guidance * (text - plain)
            off = _rms(one.output - guided)
            if not off <= allowed * (2 * expected.guidance + 1) * _rms(noise):
                yield (
                    f"in step {place} the scheduler was given {off / _rms(guided):.2g} of its size "
                    f"off the UNet's output with guidance {expected.guidance:g}"
                )
                return
        before, origin = one.made, "the step before made"


def _decoder_faults(seen: Watched, expected: _Expected) -> Iterator[str]:
    if not seen.steps or not np.isfinite(seen.steps[-1].made).all():
        return
    last = seen.steps[-1]
    stated = last.made / expected.scaling
    if not seen.decoder:
        yield "nothing was given to the decoder"
    for found in (*seen.decoder, _joined(seen.inside)):
        same = found.shape == stated.shape  # tiles are not
        if same and not _rms(found - stated) <= ROUNDING * last.epsilon * _rms(stated):
            by = float(np.vdot(last.made, last.made) / np.vdot(last.made, found))
            yield (
                f"the decoder was given the last latents divided by {by:.4g}, and its own config "
                f"states a scaling factor of {expected.scaling:g}"
            )
            return


def _led(
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


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    alike = {part.shape[1:] for part in parts}
    return np.concatenate(parts) if len(alike) == 1 else np.empty(0)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _number(value: float) -> str:
    return f"{value:g}"
