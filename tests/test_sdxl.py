"""Stable Diffusion XL: loaded, timed and judged as Stable Diffusion 1.x is, by its own family."""

from __future__ import annotations

import json

import numpy as np
import pytest

from latentcy.gates.invariants.repeatability import batch, repeat, seed
from latentcy.gates.invariants.schedule import schedule_verdict
from latentcy.gates.prompt_coverage import tokens_verdict
from latentcy.measure.architecture_flops import architecture_flops
from latentcy.measure.components import components
from latentcy.measure.flops import count_flops
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.families import SDXL
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.stages import stage_seconds
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import OWN, workload
from tiny_sdxl import build_tiny_sdxl
from whole_run import benchmark_process

CPU = find_device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


def opened(folder, *, scheduler="ddim", guidance=None, **fields):
    model, _ = resolve_model(str(folder), CPU)
    work = workload(
        "single",
        height=model.height,
        width=model.width,
        guidance_scale=model.guidance_scale if guidance is None else guidance,
        steps=4,
        scheduler=scheduler,
    )
    variant = Variant("own", "Four steps.", steps=4, scheduler=scheduler, **fields)
    return open_sampler(model, variant, CPU, work)


def test_its_folder_says_family_size_and_guidance(folder):
    model, _ = resolve_model(str(folder), CPU)
    assert model.family is SDXL
    assert (model.height, model.width, model.guidance_scale) == (64, 64, 5.0)


@pytest.mark.parametrize("scheduler", ["ddim", "pndm", "dpm", "unipc", OWN])
@pytest.mark.parametrize("guidance", [5.0, 0.0], ids=["guided", "turbo"])
def test_its_schedule_is_judged_with_each_scheduler(folder, scheduler, guidance):
    verdict = schedule_verdict(opened(folder, scheduler=scheduler, guidance=guidance))
    assert verdict.status == "passed", verdict.reason
    assert ("2 samples each" in verdict.reason) is (guidance > 1)


def test_images_repeat_batch_and_follow_their_seed(folder):
    sampler = opened(folder)
    for verdict in (repeat(sampler), batch(sampler), seed(sampler)):
        assert verdict.status == "passed", verdict.reason


def test_both_text_encoders_are_counted_and_timed(folder):
    sampler = opened(folder)
    names = {one.name for one in components(sampler.pipeline)}
    assert {"unet", "vae decoder", "text_encoder", "text_encoder_2"} <= names
    by_config, run = architecture_flops(sampler.pipeline, sampler.workload), count_flops(sampler)
    assert by_config.text_encoding and by_config.step and by_config.decoding
    assert by_config.step == pytest.approx(run.step, rel=0.05)
    assert by_config.text_encoding == pytest.approx(run.text_encoding, rel=0.05)
    assert all(value > 0 for value in stage_seconds(sampler).values())


def test_the_end_of_a_prompt_is_read(folder):
    sampler = opened(folder)
    prompt = ("a red circle on a blue square",)
    verdict = tokens_verdict(prompt, sampler.pipeline.tokenizer, pipeline=sampler.pipeline)
    assert verdict.status == "passed", verdict.reason


def test_images_are_observed_with_latents_and_decoder_output(folder):
    made = opened(folder).observe(["a", "b"], [1, 2], batch=2)
    assert made.images.shape == (2, 64, 64, 3) and np.isfinite(made.images).all()
    assert made.latents.shape == (2, 4, 8, 8) and made.decoded.shape == (2, 3, 64, 64)


@pytest.mark.system
def test_a_healthy_run_keeps_every_promise_and_shows_no_foreign_figures(folder, tmp_path):
    dtypes = ("baseline", "fp16", "bf16")
    asked = (f"--model={folder}", f"--only={','.join(f'precision/{one}' for one in dtypes)}")
    ran = benchmark_process(tmp_path, *asked, "--images=4", "--pairs=7", "perf_tests")
    records = json.loads((ran.results / "run.json").read_text())["records"]
    failed = {
        (record["variant"], one["gate"]): one["reason"]
        for record in records
        for one in record["verdicts"]
        if one["status"] == "failed" and one["gate"] not in ("speed", "climbing")
    }
    assert not failed
    assert len(records) == len(dtypes)
    assert all(record["published_seconds"] is None for record in records)
