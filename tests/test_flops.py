"""Floating-point operations: Stable Diffusion's known counts, and a pipeline left as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from latentcy.measure.architecture_flops import architecture_flops, unet_calls
from latentcy.measure.flops import count_flops
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import Model, resolve_model
from latentcy.pipelines.optimizations.cuda_graphs import Replayed
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN, Variant
from latentcy.pipelines.workload import Workload, workload
from tiny import build_tiny

CPU = find_device("cpu")
BY_ID = {each.id: each for each in BUILTIN}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0]


@pytest.fixture(scope="module")
def baseline(model: Model) -> Sampler:
    return opened(model)


def opened(model: Model, variant: Variant = BY_ID["precision/baseline"], steps: int = 3) -> Sampler:
    name = "single" if variant.group == "precision" else "batch"
    work = workload(name, height=model.height, width=model.width, guidance_scale=3.0)
    return open_sampler(model, variant, CPU, replace(work, steps=steps))


def hooked(model: Model, prepare: Callable[[Any], None]) -> Sampler:
    return opened(model, Variant("mine", "c", prepare=prepare))


def stable_diffusion(unet: dict[str, Any], vae: Any, *, guidance: float) -> tuple[Any, Workload]:
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
    with torch.device("meta"):
        pipeline = SimpleNamespace(
            unet=UNet2DConditionModel(
                sample_size=64, cross_attention_dim=768, attention_head_dim=8, **unet
            ),
            vae=vae(),
            text_encoder=CLIPTextModel(text),
            tokenizer=SimpleNamespace(model_max_length=77),
            scheduler=DDIMScheduler(),
            vae_scale_factor=8,
        )
    return pipeline, workload("single", height=512, width=512, guidance_scale=guidance)


def full_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
    )


SMALL = {"layers_per_block": 1, "mid_block_type": None}


@pytest.mark.parametrize(
    ("unet", "vae", "step", "decode"),
    [({}, full_autoencoder, 803, 2515), (SMALL, AutoencoderTiny, 511, 141)],
    ids=["sd-v1", "bk-sdm-small"],
)
def test_stable_diffusion_has_its_known_operations(
    unet: dict[str, Any], vae: Any, step: int, decode: int
) -> None:
    pipeline, work = stable_diffusion(unet, vae, guidance=1.0)
    flops = architecture_flops(pipeline, work)
    assert flops.step is not None and flops.step / 1e9 == pytest.approx(step, abs=0.5)
    assert flops.decoding is not None and flops.decoding / 1e9 == pytest.approx(decode, abs=0.5)


def test_one_published_image_takes_83_tera_operations() -> None:
    flops = architecture_flops(*stable_diffusion({}, full_autoencoder, guidance=7.5))
    assert flops.unet_calls == 50
    assert flops.total is not None and flops.total / 1e12 == pytest.approx(82.9, abs=0.2)


@pytest.mark.parametrize("name", ["precision/baseline", "precision/bf16", "precision/autocast"])
def test_the_counted_are_the_architectures_in_every_precision(model: Model, name: str) -> None:
    sampler = opened(model, BY_ID[name])
    assert count_flops(sampler) == architecture_flops(sampler.pipeline, sampler.workload)


def test_a_batch_counts_every_image_and_pndm_one_call_more(model: Model) -> None:
    sampler = opened(model, BY_ID["distillation/distilled-tiny-vae"])
    flops = count_flops(sampler)
    single = architecture_flops(sampler.pipeline, replace(sampler.workload, seeds=(1,)))
    assert flops.unet_calls == 4
    assert (flops.step, flops.decoding) == (4 * single.step, 4 * single.decoding)
    assert flops.text_encoding == single.text_encoding
    assert flops.notes == ()


def test_all_steps_counted_agree_with_the_first(baseline: Sampler) -> None:
    assert count_flops(baseline, steps=3) == count_flops(baseline)


def test_counting_leaves_the_images_and_the_pipeline_as_they_were(model: Model) -> None:
    sampler = opened(model, BY_ID["distillation/baseline"])
    before = sampler.generate().images
    timesteps = sampler.pipeline.scheduler.timesteps
    count_flops(sampler)
    assert sampler.pipeline.scheduler.timesteps is timesteps
    assert sampler.workload.steps == 3
    assert "decode" not in vars(sampler.pipeline.vae)
    assert "encode_prompt" not in vars(sampler.pipeline)
    assert np.array_equal(sampler.generate().images, before)


@pytest.mark.parametrize("how", ["wrapped", "in place", "its forward"])
def test_what_is_compiled_is_counted_uncompiled_and_stays_compiled(model: Model, how: str) -> None:
    compiled: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append("once more")
        return graph.forward

    def prepare(pipeline: Any) -> None:
        block = pipeline.unet.mid_block
        if how == "wrapped":
            pipeline.unet.mid_block = torch.compile(block, backend=backend)
        elif how == "in place":
            block.compile(backend=backend)
        else:
            block.forward = torch.compile(block.forward, backend=backend)

    sampler = hooked(model, prepare)
    sampler.generate()
    before = len(compiled)
    flops = count_flops(sampler)
    sampler.generate()
    assert before > 0 and len(compiled) == before
    assert flops == architecture_flops(sampler.pipeline, sampler.workload)


def test_the_architecture_is_found_inside_a_compiled_module(model: Model) -> None:
    sampler = opened(model)
    plain = architecture_flops(sampler.pipeline, sampler.workload)
    sampler.pipeline.unet = torch.compile(sampler.pipeline.unet, backend="eager")
    assert plain.step is not None
    assert architecture_flops(sampler.pipeline, sampler.workload) == plain


def test_a_graph_that_the_counter_cannot_see_is_taken_from_the_architecture(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.unet.forward = lambda sample, *a, **k: (torch.zeros_like(sample),)

    flops = count_flops(hooked(model, prepare))
    assert flops.step == count_flops(opened(model)).step
    assert len(flops.notes) == 1 and flops.notes[0].startswith("denoising: the counter saw no")


def test_another_librarys_attention_is_named_and_taken_from_the_architecture(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        for block in pipeline.unet.modules():
            if hasattr(block, "to_q"):
                block.set_processor(OtherAttention())

    flops = count_flops(hooked(model, prepare))
    assert flops.step == count_flops(opened(model)).step
    assert flops.notes == (
        "denoising: the counter cannot see latentcy_tests::attention; "
        "the architecture's operations where they are more",
    )


def test_a_pipeline_that_cannot_be_counted_is_told_and_still_has_figures(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        def refuse(*arguments: Any, **settings: Any) -> None:
            raise TypeError("no such mode")

        pipeline.unet.forward = refuse

    flops = count_flops(hooked(model, prepare))
    assert flops.notes[0] == "counting raised TypeError: no such mode"
    assert flops.total == count_flops(opened(model)).total


def test_an_exhausted_memory_is_not_hidden(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        def exhaust(*arguments: Any, **settings: Any) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        pipeline.unet.forward = exhaust

    with pytest.raises(torch.cuda.OutOfMemoryError):
        count_flops(hooked(model, prepare))


def test_a_cache_is_noticed_and_its_steps_are_averaged(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        forward, kept = pipeline.unet.forward, []

        def every_second(*arguments: Any, **settings: Any) -> Any:
            if kept:
                return kept.pop()
            kept.append(forward(*arguments, **settings))
            return kept[0]

        pipeline.unet.forward = every_second

    sampler = opened(model, Variant("mine", "c", prepare=prepare), steps=4)
    flops = count_flops(sampler)
    assert flops.notes == ()
    assert flops.step == count_flops(opened(model)).step / 2
    assert count_flops(sampler, steps=2) == flops


def test_a_captured_unet_is_counted_past_its_graph(model: Model) -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.unet.forward = Replayed(pipeline.unet.forward)  # no call could capture it here

    sampler = hooked(model, prepare)
    assert count_flops(sampler) == count_flops(opened(model))
    assert not sampler.pipeline.unet.forward._captured


def test_the_replay_of_a_foreign_graph_is_noticed_beside_what_is_seen(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: None)

    def prepare(pipeline: Any) -> None:
        def replayed(sample: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
            torch.cuda.CUDAGraph.replay(None)
            return (sample + (torch.ones(2, 2) @ torch.ones(2, 2)).sum(),)

        pipeline.unet.forward = replayed

    flops = count_flops(hooked(model, prepare))
    assert flops.step == count_flops(opened(model)).step
    assert flops.notes[0].startswith("denoising: the counter cannot see a captured graph;")


def test_a_scheduler_is_asked_for_its_calls_and_left_alone() -> None:
    scheduler = DDIMScheduler()
    before = scheduler.timesteps
    assert unet_calls(scheduler, 7) == 7
    assert scheduler.timesteps is before


@torch.library.custom_op("latentcy_tests::attention", mutates_args=())
def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    weights = (query @ key.transpose(-1, -2)).softmax(-1)
    return weights @ value


class OtherAttention:
    """As a library of kernels would do it: an operator that torch knows nothing of."""

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: Any = None, **rest: Any
    ) -> torch.Tensor:
        images = hidden_states.shape[0]
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)
        channels = query.shape[-1]
        query, key, value = (
            each.view(images, -1, attn.heads, channels // attn.heads).transpose(1, 2).contiguous()
            for each in (query, key, value)
        )
        mixed = _attention(query, key, value).transpose(1, 2).reshape(images, -1, channels)
        return attn.to_out[1](attn.to_out[0](mixed))
