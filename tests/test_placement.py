"""Slicing and offloading must not show: what the placement gate sees, and what it leaves out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import SlicedAttnProcessor

import emulated
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.gates.invariants.placement import placement
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

needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed"
)


def opened(model: Model, variant: Variant = BASELINE) -> Sampler:
    work = workload(
        GROUP_WORKLOADS[variant.group],
        height=model.height,
        width=model.width,
        guidance_scale=model.guidance_scale,
    )
    return open_sampler(model, variant, CPU, work)


def prepared(model: Model, prepare: Callable[[Any], None]) -> Sampler:
    return opened(model, Variant("mine", "c", prepare=prepare))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    return opened(resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0])


@pytest.mark.parametrize("variant", emulated.variants(ON_CPU))
def test_every_cpu_variant_of_the_miniature_passes(variant: Variant) -> None:
    verdict = placement(opened(MINIATURE, variant), steps=FEW)
    assert (verdict.gate, verdict.status) == ("placement", PASSED), verdict.reason
    assert "with sliced attention is within" in verdict.reason
    assert "not judged: offloading (there is no further sampler" in verdict.reason


@pytest.mark.parametrize("first", [0, 7, 99])
def test_other_seeds_pass_too(tiny: Sampler, first: int) -> None:
    verdict = placement(tiny, seeds=(first, first + 1), steps=FEW)
    assert verdict.status == PASSED, verdict.reason


@needs_accelerate
def test_offloading_is_looked_at_in_a_further_sampler_that_is_closed(tiny: Sampler) -> None:
    further = opened(tiny.model)
    verdict = placement(tiny, lambda: further, steps=FEW)
    assert verdict.status == PASSED
    assert "under model CPU offload equals the same without to the last bit" in verdict.reason
    assert further.pipeline is None
    assert not any(hasattr(module, "_hf_hook") for module in tiny.pipeline.unet.modules())


def test_what_was_switched_is_as_it_was(tiny: Sampler) -> None:
    eager = prepared(tiny.model, recipes.eager_attention)
    before = dict(eager.pipeline.unet.attn_processors)
    placement(eager, steps=FEW)
    after = eager.pipeline.unet.attn_processors
    assert all(after[name] is processor for name, processor in before.items())
    assert eager.pipeline.vae.use_slicing is False


def test_sliced_attention_that_loses_a_slice_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SlicedAttnProcessor.__call__

    def lossy(self: Any, attn: Any, hidden: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        result = whole(self, attn, hidden, *rest, **settings)
        return torch.cat([result[:-1], hidden[-1:]])

    monkeypatch.setattr(SlicedAttnProcessor, "__call__", lossy)
    verdict = placement(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert verdict.reason.startswith("image 2 of 2 with sliced attention differs from")
    assert "rounding in fp32 is allowed 0.002 a pixel" in verdict.reason
    assert "sliced decoding" not in verdict.reason


def test_sliced_decoding_that_mixes_the_images_up_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, decode = tiny.pipeline.vae, tiny.pipeline.vae.decode

    def mixed(*arguments: Any, **settings: Any) -> Any:
        images = decode(*arguments, **settings)[0]
        return (images.flip(0) if vae.use_slicing else images,)

    monkeypatch.setattr(vae, "decode", mixed)
    verdict = placement(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "of 2 with sliced decoding differs from the same without" in verdict.reason
    assert vae.use_slicing is False


def test_slicing_that_leaves_something_behind_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, enable = tiny.pipeline.vae, tiny.pipeline.vae.enable_slicing
    weight = vae.decoder.conv_out.bias

    def residue() -> None:
        enable()
        weight.data += 1e-4

    before = weight.data.clone()
    monkeypatch.setattr(vae, "enable_slicing", residue)
    verdict = placement(tiny, steps=FEW)
    weight.data.copy_(before)
    assert verdict.status == FAILED
    assert "after slicing was switched off differs from the same before it" in verdict.reason


@needs_accelerate
def test_offloading_that_changes_the_image_is_seen(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    further = opened(tiny.model)
    pipeline, enable = further.pipeline, further.pipeline.enable_model_cpu_offload

    def changed(**settings: Any) -> None:
        enable(**settings)
        pipeline.unet.conv_out.bias.data += 0.1

    monkeypatch.setattr(pipeline, "enable_model_cpu_offload", changed)
    verdict = placement(tiny, lambda: further, steps=FEW)
    assert verdict.status == FAILED
    assert "under model CPU offload differs from the same without" in verdict.reason
    assert further.pipeline is None


def test_images_that_hold_nan_fail(tiny: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = tiny.pipeline.vae.decode
    monkeypatch.setattr(
        tiny.pipeline.vae, "decode", lambda *z, **more: (decode(*z, **more)[0] * float("nan"),)
    )
    verdict = placement(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "NaN or infinite pixels" in verdict.reason


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (recipes.fused_qkv, "sliced attention (its projections are fused)"),
        (recipes.hoisted, "sliced attention (the UNet is compiled, captured or wrapped)"),
        (recipes.deep_cached(2), "sliced attention (the UNet is compiled, captured or wrapped)"),
        (lambda p: p.enable_attention_slicing(), "sliced attention (it is sliced already)"),
        (recipes.vae_slicing, "sliced decoding (it is sliced already)"),
        (recipes.compiled_regions(), "sliced attention (the UNet is compiled"),
        pytest.param(
            recipes.hoisted,
            "offloading (a part is compiled, captured or wrapped)",
            marks=needs_accelerate,
        ),
    ],
    ids=["fused", "hoisted", "cached", "sliced", "decoded", "compiled", "offloaded"],
)
def test_what_a_variant_cannot_have_is_left_out_with_the_reason(
    tiny: Sampler, prepare: Callable[[Any], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", _pretend_to_compile)
    sampler = prepared(tiny.model, prepare)
    verdict = placement(sampler, lambda: opened(tiny.model, sampler.variant), steps=FEW)
    assert verdict.status == PASSED, verdict.reason
    assert words in verdict.reason


def test_a_switch_that_raises_is_left_out_with_what_it_said(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **settings: Any) -> None:
        raise RuntimeError("not on this day")

    further = opened(tiny.model)
    monkeypatch.setattr(tiny.pipeline, "enable_attention_slicing", refuse)
    monkeypatch.setattr(tiny.pipeline.vae, "enable_slicing", refuse)
    monkeypatch.setattr(further.pipeline, "enable_model_cpu_offload", refuse)
    verdict = placement(tiny, lambda: further, steps=FEW)
    assert verdict.status == INCONCLUSIVE
    switches = 3 if importlib.util.find_spec("accelerate") else 2
    assert verdict.reason.count("(it cannot be enabled: not on this day)") == switches


def test_parts_that_are_no_torch_modules_are_left_out(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine:
        """A part as another runtime has it: it can be called, and little else."""

        def __init__(self, part: torch.nn.Module, *names: str) -> None:
            self._part, self._names = part, names

        def __getattr__(self, name: str) -> Any:
            if name not in self._names:
                raise AttributeError(name)
            return getattr(self._part, name)

        def __call__(self, *arguments: Any, **settings: Any) -> Any:
            return self._part(*arguments, **settings)

    pipeline = tiny.pipeline
    unet = Engine(pipeline.unet, "config", "dtype")
    vae = Engine(pipeline.vae, "config", "dtype", "decode")
    monkeypatch.setattr(pipeline, "unet", unet)
    monkeypatch.setattr(pipeline, "vae", vae)
    verdict = placement(tiny, steps=FEW)
    assert verdict.status == INCONCLUSIVE
    assert "sliced attention (the UNet is compiled, captured or wrapped)" in verdict.reason
    assert "sliced decoding (this autoencoder has none)" in verdict.reason


def test_a_generation_that_raises_is_not_hidden(
    tiny: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **settings: Any) -> Any:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(SlicedAttnProcessor, "__call__", broken)
    before = dict(tiny.pipeline.unet.attn_processors)
    with pytest.raises(RuntimeError, match="no kernel"):
        placement(tiny, steps=FEW)
    after = tiny.pipeline.unet.attn_processors
    assert all(after[name] is processor for name, processor in before.items())


def _pretend_to_compile(module: torch.nn.Module, **settings: Any) -> None:
    module._compiled_call_impl = module._call_impl
