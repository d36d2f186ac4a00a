"""Generating: the same noise for all, observed without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import Model, resolve_model
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN, Variant
from latentcy.pipelines.workload import Workload, workload
from tiny import build_tiny

CPU = find_device("cpu")
BY_ID = {each.id: each for each in BUILTIN}
PROMPTS = ["a red cat", "a blue dog", "a green hat"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0]


@pytest.fixture(scope="module")
def baseline(model: Model) -> Sampler:
    return opened(model)


def few_steps(name: str, model: Model) -> Workload:
    published = workload(name, height=model.height, width=model.width, guidance_scale=3.0)
    return replace(published, steps=3)


def opened(model: Model, variant: Variant = BY_ID["precision/baseline"]) -> Sampler:
    name = "single" if variant.group == "precision" else "batch"
    return open_sampler(model, variant, CPU, few_steps(name, model))


def hooked(model: Model, prepare: Callable[[Any], None]) -> Sampler:
    return opened(model, Variant("mine", "c", prepare=prepare))


def test_the_timed_path_draws_the_workload_and_captures_nothing(model: Model) -> None:
    generation = opened(model, BY_ID["distillation/baseline"]).generate()
    assert generation.images.shape == (4, 64, 64, 3)
    assert generation.images.dtype == np.float32
    assert 0 <= generation.images.min() and generation.images.max() <= 1
    assert (generation.latents, generation.decoded) == (None, None)


def test_the_same_seed_gives_the_same_image_twice(baseline: Sampler) -> None:
    assert np.array_equal(baseline.generate().images, baseline.generate().images)


def test_other_seeds_give_other_images(baseline: Sampler) -> None:
    assert not np.allclose(baseline.generate(seeds=(1,)).images, baseline.generate().images)


@pytest.mark.parametrize("name", ["precision/fp16", "precision/bf16", "precision/autocast"])
def test_every_precision_starts_from_the_baselines_noise(
    baseline: Sampler, model: Model, name: str
) -> None:
    difference = opened(model, BY_ID[name]).generate().images - baseline.generate().images
    assert np.abs(difference).mean() < 0.02


def test_observing_does_not_change_the_images_and_leaves_nothing_behind(
    baseline: Sampler,
) -> None:
    before = baseline.generate(PROMPTS[:1], [3]).images
    observed = baseline.observe(PROMPTS[:1], [3])
    assert np.array_equal(observed.images, before)
    assert "decode" not in vars(baseline.pipeline.vae)
    assert "encode_prompt" not in vars(baseline.pipeline)


def test_observing_captures_latents_and_raw_output_over_all_batches(baseline: Sampler) -> None:
    observed = baseline.observe(PROMPTS, [1, 2, 3], batch=2)
    assert observed.images.shape == (3, 64, 64, 3)
    assert observed.latents is not None and observed.latents.shape == (3, 4, 8, 8)
    assert observed.decoded is not None and observed.decoded.shape == (3, 3, 64, 64)
    pixels = np.clip(observed.decoded / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    assert np.allclose(pixels, observed.images, atol=1e-6)


def test_without_a_safety_checker_nothing_is_said_to_be_flagged(baseline: Sampler) -> None:
    assert baseline.observe(PROMPTS[:1], [1]).flagged is None


def test_flags_are_captured_over_all_batches_and_the_raw_output_before_the_checker(
    model: Model, baseline: Sampler
) -> None:
    def check(images: torch.Tensor, *_: Any) -> tuple[torch.Tensor, list[bool]]:
        images[0] = 0  # in place, as the real one does
        return images, [True] + [False] * (len(images) - 1)

    def prepare(pipeline: Any) -> None:
        pipeline.run_safety_checker = check

    observed = hooked(model, prepare).observe(PROMPTS, [1, 2, 3], batch=2)
    assert observed.flagged == (True, False, True)
    assert not observed.images[0].any() and observed.images[1].any()
    assert np.allclose(observed.decoded, baseline.observe(PROMPTS, [1, 2, 3], batch=2).decoded)


def test_an_image_hardly_depends_on_its_batch(baseline: Sampler) -> None:
    together = baseline.observe(PROMPTS, [1, 2, 3], batch=3).images
    alone = baseline.observe(PROMPTS, [1, 2, 3], batch=1).images
    assert np.allclose(together, alone, atol=1e-4)


def test_the_tiny_autoencoder_decodes_the_same_latents(model: Model) -> None:
    full = opened(model, BY_ID["distillation/distilled"]).observe(PROMPTS, [1, 2, 3])
    tiny = opened(model, BY_ID["distillation/distilled-tiny-vae"]).observe(PROMPTS, [1, 2, 3])
    scale = 0.18215  # the full autoencoder's latents are divided by its scaling factor
    assert full.latents is not None and tiny.latents is not None
    assert np.allclose(full.latents * scale, tiny.latents, atol=1e-4)


def test_nan_from_the_decoder_reaches_the_images_and_the_raw_output(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        decode = pipeline.vae.decode
        pipeline.vae.decode = lambda *a, **k: (decode(*a, **k)[0] * float("nan"),)

    sampler = hooked(model, prepare)
    own = sampler.pipeline.vae.decode
    observed = sampler.observe(PROMPTS[:1], [1])
    assert np.isnan(observed.images).all() and np.isnan(observed.decoded).all()
    assert observed.latents is not None and np.isfinite(observed.latents).all()
    assert sampler.pipeline.vae.decode is own


def test_pndm_calls_the_unet_once_more_than_it_has_steps(model: Model) -> None:
    sampler = opened(model, BY_ID["distillation/baseline"])
    calls: list[None] = []
    sampler.pipeline.unet.register_forward_hook(lambda *_: calls.append(None))
    sampler.generate()
    assert len(calls) == sampler.workload.steps + 1


def test_autocast_is_on_inside_the_call_and_only_there(model: Model) -> None:
    sampler = opened(model, BY_ID["precision/autocast"])
    seen: list[bool] = []
    sampler.pipeline.unet.register_forward_hook(
        lambda *_: seen.append(torch.is_autocast_enabled("cpu"))
    )
    sampler.generate()
    assert seen and all(seen) and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("name", "tf32"), [("baseline", False), ("tf32", True)])
def test_tf32_is_as_the_variant_says_during_the_call(model: Model, name: str, tf32: bool) -> None:
    sampler = opened(model)
    sampler.variant = BY_ID[f"precision/{name}"]  # a CPU refuses to load tf32, and ignores it
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    if not hasattr(backends[0], "fp32_precision"):
        pytest.skip("before torch 2.9 the switches are called otherwise")
    seen: set[str] = set()
    sampler.pipeline.unet.register_forward_hook(
        lambda *_: seen.update(each.fp32_precision for each in backends)
    )
    sampler.generate()
    assert seen == {"tf32" if tf32 else "ieee"}


def test_prompts_and_seeds_come_in_pairs(baseline: Sampler) -> None:
    with pytest.raises(ValueError, match="3 prompts for 2 seeds"):
        baseline.observe(PROMPTS, [1, 2])


def test_a_size_that_the_autoencoder_cannot_make_is_refused(model: Model) -> None:
    odd = replace(few_steps("single", model), width=60)
    with pytest.raises(LatentcyError, match="multiples of 8"):
        open_sampler(model, BY_ID["precision/baseline"], CPU, odd)


def test_closing_lets_the_pipeline_go(model: Model) -> None:
    sampler = opened(model)
    sampler.close()
    assert sampler.pipeline is None
