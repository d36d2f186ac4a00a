"""Noise by a generator: what the generator gate sees, and what it lets pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler

import emulated
from latentcy.core.verdict import FAILED, PASSED
from latentcy.gates.invariants.generators import generator
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import MINIATURE, Model, resolve_model
from latentcy.pipelines.optimizations import recipes
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN, GROUP_WORKLOADS, Variant
from latentcy.pipelines.workload import workload
from tiny import build_tiny

CPU = find_device("cpu")
BASELINE = BUILTIN[0]
ON_CPU = [each for each in BUILTIN if not each.refusal(CPU)]
FEW = 3  # steps


def opened(model: Model, variant: Variant = BASELINE) -> Sampler:
    work = workload(
        GROUP_WORKLOADS[variant.group],
        height=model.height,
        width=model.width,
        guidance_scale=model.guidance_scale,
    )
    return open_sampler(model, variant, CPU, work)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return opened(resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0])


def patch_latents(
    sampler: Sampler, patch: pytest.MonkeyPatch, change: Callable[[Any], Any]
) -> None:
    """Have the generator that draws the starting noise go through `change`."""
    prepare = sampler.pipeline.prepare_latents

    def changed(*arguments: Any) -> torch.Tensor:
        *rest, drawn_by, latents = arguments
        return prepare(*rest, change(drawn_by), latents)

    patch.setattr(sampler.pipeline, "prepare_latents", changed)


def patch_step(
    sampler: Sampler, patch: pytest.MonkeyPatch, change: Callable[..., dict[str, Any]]
) -> None:
    """Have what the scheduler's step is given beside its tensors go through `change`."""
    step = sampler.pipeline.scheduler.step

    def changed(
        noise: Any, t: Any, sample: Any, eta: float = 0.0, generator: Any = None, **rest: Any
    ) -> Any:
        return step(noise, t, sample, **change(eta=eta, generator=generator), **rest)

    patch.setattr(sampler.pipeline.scheduler, "step", changed)


@pytest.mark.parametrize("variant", emulated.variants(ON_CPU))
def test_every_cpu_variant_of_the_miniature_passes(variant: Variant) -> None:
    verdict = generator(opened(MINIATURE, variant), steps=FEW)
    assert (verdict.gate, verdict.status) == ("generator", PASSED), verdict.reason
    assert ("takes no eta" in verdict.reason) == (variant.group == "distillation")


@pytest.mark.parametrize("first", [0, 7, 99])
def test_other_seeds_pass_too(tiny: Sampler, first: int) -> None:
    verdict = generator(tiny, seeds=(first, first + 1, first + 2), steps=FEW)
    assert verdict.status == PASSED, verdict.reason


def test_the_sampler_and_the_random_states_are_left_as_found(tiny: Sampler) -> None:
    pipeline, scheduler = tiny.pipeline, dict(vars(tiny.pipeline.scheduler))
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    generator(tiny, steps=FEW)
    assert tiny.pipeline is pipeline
    assert all(vars(pipeline.scheduler)[name] is value for name, value in scheduler.items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_a_pipeline_that_ignores_the_generator_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_latents(tiny, monkeypatch, lambda drawn_by: None)
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "a second image of a cpu generator seeded with 2023 differs" in verdict.reason


def test_noise_that_is_not_the_seeds_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn_before(drawn_by: Any) -> Any:
        if isinstance(drawn_by, torch.Generator):
            torch.randn(1, generator=drawn_by)
        return drawn_by

    patch_latents(tiny, monkeypatch, drawn_before)
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "the image of a CPU generator differs from that of the same seed's" in verdict.reason
    assert "second image" not in verdict.reason


def test_a_list_of_generators_of_which_only_the_first_is_used_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_latents(tiny, monkeypatch, lambda by: by[0] if isinstance(by, list) else by)
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert verdict.reason.startswith("image 2 of 2 of a list of CPU generators differs")


def test_a_generator_whose_seed_does_not_matter_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same_for_all(drawn_by: Any) -> Any:
        if isinstance(drawn_by, torch.Generator):
            drawn_by.manual_seed(2023)
        return drawn_by

    patch_latents(tiny, monkeypatch, same_for_all)
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "seeded with 2024 is 0 in the mean from the first one" in verdict.reason


def test_a_scheduler_that_ignores_the_generator_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_step(tiny, monkeypatch, lambda eta, generator: {"eta": eta})
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    words = "a second image with step noise (eta 1) by the same generator seed differs"
    assert verdict.reason.startswith(words)


def test_a_scheduler_that_ignores_eta_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_step(tiny, monkeypatch, lambda eta, generator: {"generator": generator})
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "step noise (eta 1) by another generator seed is 0 in the mean" in verdict.reason


def test_a_scheduler_whose_every_step_draws_without_the_generator_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = EulerAncestralDiscreteScheduler.from_config(tiny.pipeline.scheduler.config)
    step = scheduler.step

    def without(noise: Any, t: Any, sample: Any, generator: Any = None, **rest: Any) -> Any:
        return step(noise, t, sample, **rest)

    monkeypatch.setattr(scheduler, "step", without)
    monkeypatch.setattr(tiny.pipeline, "scheduler", scheduler)
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "a second image of a cpu generator seeded with 2023 differs" in verdict.reason


def test_a_scheduler_that_refuses_eta_is_left_out_with_the_reason(tiny: Sampler) -> None:
    hosted = opened(tiny.model, Variant("hosted", "c", prepare=recipes.host_scheduled))
    verdict = generator(hosted, steps=FEW)
    assert verdict.status == PASSED, verdict.reason
    assert "not judged: step noise, as HostDDIM refuses eta 1" in verdict.reason


def test_images_that_hold_nan_fail(tiny: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = tiny.pipeline.vae.decode
    monkeypatch.setattr(
        tiny.pipeline.vae, "decode", lambda *z, **settings: (decode(*z, **settings)[0] * np.nan,)
    )
    verdict = generator(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "NaN or infinite pixels" in verdict.reason
