"""The schedule gate: what the UNet, the scheduler and the decoder are given, as the files state."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

import invariant_cases
from invariant_cases import assert_said
from latentcy.gates.invariants import solver_formulas as solvers
from latentcy.gates.invariants.schedule import schedule_verdict
from latentcy.measure.step_probe import watch
from latentcy.pipelines.interception import wrapped

STEPS = 8  # enough for a step to be left out, made twice or begun elsewhere
opened = partial(invariant_cases.opened, steps=STEPS)

SD = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "skip_prk_steps": True,
}


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_noise_schedules_are_those_of_diffusers(name: str) -> None:
    config = solvers.stated_config(DDIMScheduler, SD | {"beta_schedule": name}, {})
    theirs = DDIMScheduler(**config).alphas_cumprod.numpy()
    assert np.allclose(solvers.alphas(config), theirs, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("kind", [DDIMScheduler, PNDMScheduler])
def test_timesteps_are_those_of_diffusers(kind: Any, spacing: str) -> None:
    config = solvers.stated_config(kind, SD | {"timestep_spacing": spacing}, {})
    scheduler = kind(**config)
    scheduler.set_timesteps(28)
    own = solvers.PNDM if kind is PNDMScheduler else solvers.DDIM
    assert own(config, 28).timesteps == scheduler.timesteps.tolist()


def test_the_sampler_is_left_as_it_was() -> None:
    sampler = opened()
    state, images = dict(vars(sampler.pipeline.scheduler)), sampler.generate().images
    sampler.pipeline.scheduler.__dict__.update(state)
    schedule_verdict(sampler)
    assert vars(sampler.pipeline.scheduler).keys() == state.keys()
    assert not sampler.pipeline.unet._forward_hooks
    assert np.array_equal(sampler.generate().images, images)


def configured(**changes: Any):
    def prepare(pipeline: Any) -> None:
        pipeline.scheduler = type(pipeline.scheduler).from_config(
            pipeline.scheduler.config, **changes
        )

    return prepare


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"beta_schedule": "linear"}, "beta_schedule is 'linear'.*'scaled_linear'"),
        ({"beta_start": 0.0001, "beta_end": 0.02}, "beta_start is 0.0001.*alphas_cumprod at"),
        ({"clip_sample": True}, "clip_sample is True"),
        ({"steps_offset": 0}, "steps_offset is 0.*step 1 ran at timestep"),
        ({"prediction_type": "v_prediction"}, "prediction_type is 'v_prediction'"),
        ({"timestep_spacing": "trailing"}, "timestep_spacing is 'trailing'"),
        ({"set_alpha_to_one": True}, "set_alpha_to_one is True"),
    ],
)
def test_a_changed_config_is_named_with_what_the_files_state(changes, said) -> None:
    verdict = schedule_verdict(opened(configured(**changes)))
    assert verdict.status == "failed"
    assert_said(verdict, said)


def test_betas_that_the_config_does_not_tell_of_are_found() -> None:
    def prepare(pipeline: Any) -> None:
        betas = torch.linspace(0.0001, 0.02, 1000)
        pipeline.scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)

    assert_failed(prepare, "alphas_cumprod at timestep .* and the stated betas give")


def test_a_previous_timestep_that_is_off_by_one_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        scheduler = pipeline.scheduler
        step = scheduler.step

        def off_by_one(output: Any, timestep: Any, sample: Any, **settings: Any) -> Any:
            true = scheduler.config.num_train_timesteps
            stride_and_one = true + scheduler.num_inference_steps
            scheduler.register_to_config(num_train_timesteps=stride_and_one)
            try:
                return step(output, timestep, sample, **settings)
            finally:
                scheduler.register_to_config(num_train_timesteps=true)

        scheduler.step = off_by_one

    assert_failed(prepare, r"step 1 of 8 \(timestep 876 to 751\) is .* off DDIMScheduler's formula")


def test_a_step_that_is_skipped_or_made_twice_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        set_timesteps = pipeline.scheduler.set_timesteps

        def skipping(*arguments: Any, **settings: Any) -> None:
            set_timesteps(*arguments, **settings)
            pipeline.scheduler.timesteps = pipeline.scheduler.timesteps[:-1]

        pipeline.scheduler.set_timesteps = skipping

    assert_failed(prepare, "makes 7 steps of 8 asked for.*took 7 steps, and 8 are expected")


def test_another_number_of_steps_than_the_workloads_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        set_timesteps = pipeline.scheduler.set_timesteps
        pipeline.scheduler.set_timesteps = lambda steps, **more: set_timesteps(steps + 2, **more)

    assert_failed(prepare, "10 steps of 8 asked for")


def test_another_scheduler_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)

    assert_failed(prepare, "states DDIMScheduler, and the pipeline runs EulerDiscreteScheduler")


def test_ignored_guidance_is_found_by_the_samples_that_the_unet_works_on() -> None:
    sampler = opened()
    kind = type("Unguided", (type(sampler.pipeline),), {"do_classifier_free_guidance": False})
    sampler.pipeline.__class__ = kind
    verdict = schedule_verdict(sampler)
    assert verdict.status == "failed"
    assert_said(verdict, "in step 1 the UNet worked on 1 samples, and 2 are expected")


def test_a_unet_that_works_twice_is_found_from_inside() -> None:
    def prepare(pipeline: Any) -> None:
        forward = pipeline.unet.forward

        def twice(*arguments: Any, **settings: Any) -> Any:
            forward(*arguments, **settings)
            return forward(*arguments, **settings)

        pipeline.unet.forward = twice

    assert_failed(prepare, "worked on 4 samples, and 2 are expected")


def test_latents_that_are_scaled_on_their_way_into_the_unet_are_found() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.scheduler.init_noise_sigma = 14.6

    assert_failed(prepare, r"in step 1 .* other latents \(14.6 times as large\) than the starting")


def test_latents_that_change_between_two_steps_are_found() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.scheduler.scale_model_input = lambda sample, timestep: sample * 1.01

    assert_failed(prepare, r"the UNet worked on other latents \(1.01 times as large\)")


def test_noise_that_is_rounded_is_told_by_how_far_apart_it_is() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.scheduler.scale_model_input = lambda sample, timestep: sample.half().float()

    assert_failed(
        prepare, r"they are 0\.000\d+ of their size apart, and rounding is allowed 9\.5e-07"
    )


def test_a_scheduler_that_is_right_for_the_workloads_steps_alone_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        set_timesteps = pipeline.scheduler.set_timesteps

        def fitted(steps: int, **settings: Any) -> None:
            set_timesteps(steps if steps == STEPS else steps // 2, **settings)

        pipeline.scheduler.set_timesteps = fitted

    assert_failed(prepare, "the scheduler makes 3 steps of 7 asked for, and 7 are expected")


def test_another_guidance_is_found() -> None:
    sampler = opened()

    def prepare_latents(original: Any, *arguments: Any, **settings: Any) -> Any:
        sampler.pipeline._guidance_scale = 5.0
        return original(*arguments, **settings)

    with wrapped(sampler.pipeline, "prepare_latents", prepare_latents):
        verdict = schedule_verdict(sampler)
    assert verdict.status == "failed"
    assert_said(verdict, "off the UNet's output with guidance 2")


@pytest.mark.parametrize(("vae", "scaling"), [("full", 0.7752), ("tiny", 1.0)])
def test_a_wrong_scaling_factor_is_found(vae: str, scaling: float) -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.vae.register_to_config(scaling_factor=0.18215)

    said = f"divided by 0.182., and its own config states a scaling factor of {scaling:g}"
    assert_failed(prepare, said, vae=vae)


def test_latents_that_are_scaled_inside_the_decoders_call_are_found() -> None:
    def prepare(pipeline: Any) -> None:
        decode = pipeline.vae.decode
        pipeline.vae.decode = lambda z, **settings: decode(z * 2, **settings)

    assert_failed(prepare, "divided by 0.3876, and its own config states")


def test_latents_that_are_not_finite_are_left_to_the_black_image_gate() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.unet.conv_out.bias.data.fill_(float("nan"))

    verdict = schedule_verdict(opened(prepare))
    assert verdict.status == "inconclusive"
    assert_said(verdict, "8 steps .* not finite")


def test_what_is_watched_is_every_step() -> None:
    seen = watch(opened())
    assert [one.timestep for one in seen.steps] == [876, 751, 626, 501, 376, 251, 126, 1]
    assert len(seen.steps) == STEPS and len(seen.decoder) == 1


def assert_failed(prepare: Any, said: str, **settings: Any) -> None:
    verdict = schedule_verdict(opened(prepare, **settings))
    assert verdict.status == "failed", verdict.reason
    assert_said(verdict, said)
