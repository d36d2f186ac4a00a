"""The schedule of a generation: timesteps, UNet calls, steps and scalings, as the files state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.gates.invariants.solver_formulas import alphas, stated_config
from latentcy.gates.invariants.stated_schedule import (
    StatedSchedule,
    is_own,
    led_through,
    scheduler_file,
    stated_class,
    unlike_the_file,
)
from latentcy.measure.short_generations import with_steps
from latentcy.measure.step_probe import Watched, as_array, watch
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps

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
    scheduler, file = sampler.pipeline.scheduler, scheduler_file(sampler)
    kind, settings = stated_class(sampler)
    config = stated_config(kind, scheduler.config if is_own(sampler) else file, settings)
    if not isinstance(scheduler, kind):
        found = f"the case states {kind.__name__}, and the pipeline runs {type(scheduler).__name__}"
        do = "where that is meant, state scheduler='own' in the variant"
        return Verdict(GATE, FAILED, f"{found}; {do}")
    expected = StatedSchedule(kind, config, sampler)
    notes = [*unlike_the_file(config, file)] if is_own(sampler) else []
    with with_few_steps(sampler, None) as same:
        wrong = [*_config_faults(scheduler, config)]
        for one in (same, with_steps(same, OTHER_STEPS)):
            stated = expected if one is same else StatedSchedule(kind, config, one)
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


def _probe_faults(sampler: Sampler, expected: StatedSchedule) -> Iterator[str]:
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
    found = led_through(scheduler, timesteps, samples, outputs, device)
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


def _call_faults(seen: Watched, expected: StatedSchedule) -> Iterator[str]:
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


def _value_faults(seen: Watched, expected: StatedSchedule) -> Iterator[str]:
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


def _decoder_faults(seen: Watched, expected: StatedSchedule) -> Iterator[str]:
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


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    alike = {part.shape[1:] for part in parts}
    return np.concatenate(parts) if len(alike) == 1 else np.empty(0)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _number(value: float) -> str:
    return f"{value:g}"
