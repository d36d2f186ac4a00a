"""A pipeline's own scheduler: stochastic ones repeat, the stated one is what is installed."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    TCDScheduler,
)

from latentcy.core.errors import UnsuitableError
from latentcy.gates.invariants.repeatability import batch, repeat
from latentcy.gates.invariants.schedule import schedule_verdict
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.interception import wrapped
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.optimizations import recipes
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import OWN, workload
from tiny import build_tiny
from whole_run import benchmark_process

CPU = find_device("cpu")
STEPS = 6
SCHEDULERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "euler ancestral": (EulerAncestralDiscreteScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "ddpm": (DDPMScheduler, {}),
    "sde-dpm": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "heun": (HeunDiscreteScheduler, {}),
    "tcd": (TCDScheduler, {}),
    "lms": (LMSDiscreteScheduler, {}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0]


def opened(model, kind=None, scheduler=OWN, **settings) -> Sampler:
    def prepare(pipeline) -> None:
        if kind is not None:
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **settings)

    variant = Variant("own", "Its own.", scheduler=scheduler, steps=STEPS, prepare=prepare)
    work = workload(
        "single",
        height=model.height,
        width=model.width,
        guidance_scale=model.guidance_scale,
        steps=STEPS,
        scheduler=scheduler,
    )
    return open_sampler(model, variant, CPU, work)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_healthy_scheduler_of_a_hook_keeps_every_promise(name, model):
    kind, settings = SCHEDULERS[name]
    sampler = opened(model, kind, **settings)
    for verdict in (repeat(sampler), batch(sampler), schedule_verdict(sampler)):
        assert verdict.status == "passed", verdict.reason


def test_the_noise_of_the_steps_is_the_seed_s_and_not_the_start_s(model):
    sampler = opened(model, EulerAncestralDiscreteScheduler)
    one, other = (sampler.generate(["a"], [seed]).images for seed in (1, 2))
    assert np.abs(one - other).max() > 1e-3
    drawn: list[torch.Tensor] = []

    def step(original, *arguments, **settings):
        drawn.append(torch.randn(1, generator=settings["generator"][0].clone_state()))
        return original(*arguments, **settings)

    with wrapped(sampler.pipeline.scheduler, "step", step):
        sampler.generate(["a"], [1])
    fresh = torch.randn(1, generator=torch.Generator().manual_seed(1))
    assert len({float(each) for each in (*drawn, fresh)}) == STEPS + 1


def test_the_timed_workload_draws_the_same_each_time(model):
    sampler = opened(model, EulerAncestralDiscreteScheduler)
    first, again = sampler.generate().images, sampler.generate().images
    assert np.array_equal(first, again)


def test_another_scheduler_than_the_stated_one_fails_and_says_how_to_mean_it(model):
    verdict = schedule_verdict(opened(model, EulerDiscreteScheduler, scheduler="ddim"))
    assert verdict.status == "failed" and "state scheduler='own'" in verdict.reason


def test_a_config_unlike_the_file_s_is_told_and_no_fault(model):
    sampler = opened(model, DDIMScheduler, beta_end=0.03)
    verdict = schedule_verdict(sampler)
    assert verdict.status == "passed" and "beta_end 0.03 for" in verdict.reason


def test_a_deviation_of_the_library_s_own_class_is_a_note(model):
    verdict = schedule_verdict(opened(model, DDIMScheduler, timestep_spacing="trailing"))
    assert verdict.status == "passed" and "diffusers#12633" in verdict.reason


def test_a_step_that_is_wrong_in_this_pipeline_alone_still_fails(model):
    sampler = opened(model, DDIMScheduler)

    def step(original, noise, timestep, *rest, **more):
        return original(noise, (timestep - 60).clamp(min=0), *rest, **more)

    with wrapped(sampler.pipeline.scheduler, "step", step):
        assert schedule_verdict(sampler).status == "failed"


def told_the_guidance(pipeline) -> None:
    """The UNet of a latent consistency model: one row, and the scale as a condition."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = {**pipeline.unet.config, "time_cond_proj_dim": 32}
        pipeline.unet = type(pipeline.unet).from_config(config).eval()


def test_a_unet_that_is_told_the_guidance_gets_one_row_an_image(model):
    variant = Variant("lcm", "Its own.", scheduler=OWN, steps=STEPS, prepare=told_the_guidance)
    work = workload("single", height=64, width=64, guidance_scale=7.5, steps=STEPS, scheduler=OWN)
    sampler = open_sampler(model, variant, CPU, work)
    verdict = schedule_verdict(sampler)
    assert verdict.status == "passed" and "1 samples each" in verdict.reason
    for recipe in (recipes.hoisted, recipes.deep_cached(2)):
        with pytest.raises(UnsuitableError, match="UNet"):
            recipe(sampler.pipeline)


@pytest.mark.system
def test_an_optimization_that_does_not_suit_is_skipped_with_its_reason(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from latentcy import Variant\n"
        "from latentcy.core.errors import UnsuitableError\n"
        "def hook(pipeline):\n"
        "    raise UnsuitableError('a UNet without what it needs')\n"
        "VARIANTS = [Variant('mine', 'Unsuitable.', prepare=hook)]\n"
    )
    tiny = build_tiny(tmp_path / "tiny")
    asked = (f"--model={tiny}", f"--variants={mine}", "--only=mine", "-k", "black or ssim")
    ran = benchmark_process(tmp_path, *asked)
    assert ran.status == 0, ran.text
    assert "skipped: a UNet without what it needs" in ran.text


def test_a_watched_method_keeps_its_signature(model):
    scheduler = opened(model, EulerAncestralDiscreteScheduler).pipeline.scheduler
    before = inspect.signature(scheduler.step)
    with wrapped(scheduler, "step", lambda original, *given, **more: original(*given, **more)):
        assert inspect.signature(scheduler.step) == before
