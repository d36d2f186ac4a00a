"""The pipeline's own way to draw noise: by a generator, in place of ready-made latents.

Promised is what diffusers does. A generator on the CPU draws the noise there, in the dtype of the
prompt's embeddings, whatever the device: the image is that of `starting_latents` from the same
seed. Half precision draws the fp32 noise and rounds it (seen with torch 2.13 for fp16 and bf16,
bit by bit), which is what the sampler hands over. A generator on an accelerator draws other noise
for the same seed, as torch states, so that it is held against itself only (diffusers issues 13298
and 2973).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from latentcy.core.verdict import Verdict
from latentcy.gates.invariants.image_bounds import (
    Finding,
    another,
    concluded,
    least_apart,
    rounding,
    same,
    same_code,
)
from latentcy.measure.short_generations import (
    SEEDS,
    STEPS,
    batch_limit,
    brief,
    draw,
    prompts,
    reseed,
)
from latentcy.pipelines.families import denoiser_of
from latentcy.pipelines.sampler import Sampler

ETA = 1.0  # as much step noise as DDIM can add (Song et al. 2021: the DDPM of formula 16)


def generator(
    sampler: Sampler, *, seeds: Sequence[int] = SEEDS, steps: int | None = STEPS
) -> Verdict:
    """A generator gives the image of the seed's latents, and all noise follows the generator.

    Looked at: one generator and a list of them; the same seed twice, with other global random
    states; another seed; on an accelerator a generator there; and, where the scheduler takes eta,
    the noise of its steps, by the same generator twice and by another one.

    Args:
        sampler: left as it was.
        seeds: at least two.
        steps: at most so many; None takes the workload's.
    """
    findings: list[Finding] = []
    left_out: list[str] = []
    with brief(sampler, steps) as short:
        findings += _against_latents(short, seeds)
        findings += _same_and_other(short, seeds, "cpu")
        if sampler.device.kind != "cpu":
            findings += _same_and_other(short, seeds, str(sampler.device.torch))
        noise = _step_noise(short, seeds)
        if isinstance(noise, str):
            left_out.append(noise)
        else:
            findings += noise
    return concluded("generator", findings, left_out)


class _ByGenerator:
    """A pipeline that is called as the sampler calls it, but with `more` in place of latents."""

    def __init__(self, pipeline: Any, more: dict[str, Any], *, latents: bool) -> None:
        self._pipeline, self._more, self._latents = pipeline, more, latents

    def __call__(self, **settings: Any) -> Any:
        settings.pop("generator", None)  # the sampler's own
        if not self._latents:
            settings.pop("latents")
        return self._pipeline(**settings, **self._more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


def _draw_by(
    sampler: Sampler,
    texts: Sequence[str],
    generators: Any,
    *,
    seeds: Sequence[int],
    latents: bool = False,
    **more: Any,
) -> np.ndarray:
    """Images whose noise is the generators'; with `latents` the starting noise is the seeds'."""
    pipeline = sampler.pipeline
    more["generator"] = generators
    sampler.pipeline = _ByGenerator(pipeline, more, latents=latents)
    try:
        return draw(sampler, texts, seeds)
    finally:
        sampler.pipeline = pipeline


def _seeded(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _against_latents(sampler: Sampler, seeds: Sequence[int]) -> list[Finding]:
    """One generator, and a list of them, against the latents of the same seeds."""
    whole = denoiser_of(sampler.pipeline).dtype == torch.float32
    bound = same_code(sampler) if whole else rounding(sampler)
    findings = []
    for count in range(1, min(2, batch_limit(sampler)) + 1):
        texts, own = prompts(sampler)[:count], tuple(seeds[:count])
        each = [_seeded(seed) for seed in own]
        by_generator = _draw_by(sampler, texts, each[0] if count == 1 else each, seeds=own)
        name = "a CPU generator" if count == 1 else "a list of CPU generators"
        what = f"{{image}} of {name}/that of the same seed's latents"
        findings.append(same(by_generator, draw(sampler, texts, own), bound, what=what))
    return findings


def _same_and_other(sampler: Sampler, seeds: Sequence[int], device: str) -> list[Finding]:
    """The same seed twice, and another seed, by generators on one device."""
    text = prompts(sampler)[:1]
    images = []
    for state, seed in enumerate((seeds[0], seeds[0], seeds[1]), 1):
        reseed(state)
        images.append(_draw_by(sampler, text, _seeded(seed, device), seeds=seeds[:1]))
    first, again, other = images
    name = f"of a {device} generator seeded with"
    return [
        same(
            again,
            first,
            same_code(sampler),
            what=f"a second image {name} {seeds[0]}/the first one",
        ),
        another(other, first, least_apart(sampler), what=f"that {name} {seeds[1]}/the first one"),
    ]


def _step_noise(sampler: Sampler, seeds: Sequence[int]) -> list[Finding] | str:
    """Whether the noise of the steps follows the generator, from one starting noise.

    Why that cannot be judged, where it cannot.
    """
    scheduler = sampler.pipeline.scheduler
    name = type(scheduler).__name__
    if "eta" not in inspect.signature(scheduler.step).parameters:
        return f"step noise, as {name} takes no eta"
    if sampler.workload.steps < 2:
        return "step noise, as there is one step only"
    text, start = prompts(sampler)[:1], seeds[:1]
    images = []
    for state, seed in enumerate((1, 1, 2), 3):
        reseed(state)
        drawn_by = _seeded(seed)
        try:
            images.append(_draw_by(sampler, text, drawn_by, seeds=start, latents=True, eta=ETA))
        except ValueError as error:
            return f"step noise, as {name} refuses eta {ETA:g} ({error})"
    first, again, other = images
    noise = f"with step noise (eta {ETA:g}) by"
    return [
        same(
            again,
            first,
            same_code(sampler),
            what=f"a second image {noise} the same generator seed/the first one",
        ),
        another(
            other,
            first,
            least_apart(sampler),
            what=f"the image {noise} another generator seed/that by the first seed",
        ),
    ]
