"""The gates of switches and leaks: as stated before, during and after, with the culprit's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0

from invariant_cases import assert_failed, assert_said, opened
from latentcy.gates.invariants.switches import (
    Inside,
    Snapshot,
    _kernel_faults,
    differences,
    inside,
    leak_verdict,
    switches_verdict,
)
from latentcy.pipelines.optimizations import recipes
from latentcy.pipelines.sampler import Sampler


@pytest.fixture(scope="module")
def healthy() -> Sampler:
    return opened()


@pytest.fixture(scope="module")
def before() -> Snapshot:
    return Snapshot.take()


def during(sampler: Sampler, act: Callable[[], Any]) -> None:
    """`act` runs whenever the pipeline encodes a prompt."""
    encode = sampler.pipeline.encode_prompt

    def encode_prompt(*arguments: Any, **settings: Any) -> Any:
        act()
        return encode(*arguments, **settings)

    sampler.pipeline.encode_prompt = encode_prompt


def test_a_healthy_case_passes_and_its_kernels_are_told(healthy: Sampler) -> None:
    verdict = switches_verdict(healthy)
    assert verdict.status == "passed", verdict.reason
    assert_said(verdict, "scaled_dot_product_flash_attention_for_cpu")


def test_a_part_in_training_mode_is_named() -> None:
    verdict = switches_verdict(opened(lambda pipeline: pipeline.unet.mid_block.train()))
    assert_failed(verdict, r"unet\.mid_block\.\S+ is in training mode.*call eval")


def test_launch_blocking_is_found(healthy: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert_failed(switches_verdict(healthy), "CUDA_LAUNCH_BLOCKING is set to '1'.*unset it")


def test_determinism_that_a_case_turns_on_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True

    verdict = switches_verdict(opened(prepare))
    assert_failed(verdict, "turns deterministic algorithms on .*cudnn.deterministic on")
    assert torch.get_deterministic_debug_mode() == 0


def test_tf32_that_the_variant_does_not_state_is_found() -> None:
    sampler = opened()

    def prepare() -> None:
        torch.backends.cuda.matmul.fp32_precision = "tf32"

    during(sampler, prepare)
    said = "tf32 in matrix products is on during the call, and the variant states off"
    assert_failed(switches_verdict(sampler), said)


def test_gradients_during_the_call_are_found() -> None:
    def prepare(pipeline: Any) -> None:
        forward = pipeline.unet.forward

        def recording(*arguments: Any, **settings: Any) -> Any:
            with torch.enable_grad():
                return tuple(one.detach() for one in forward(*arguments, **settings))

        pipeline.unet.forward = recording

    assert_failed(switches_verdict(opened(prepare)), "gradients are recorded")


def test_autocast_that_the_variant_does_not_state_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        forward = pipeline.unet.forward

        def under_autocast(*arguments: Any, **settings: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return forward(*arguments, **settings)

        pipeline.unet.forward = under_autocast

    said = "autocast during the call is torch.bfloat16, and the variant states None"
    assert_failed(switches_verdict(opened(prepare)), said)


def test_weights_that_a_generation_changes_are_named() -> None:
    def prepare(pipeline: Any) -> None:
        layer = pipeline.unet.conv_in

        def drift(*_: Any) -> None:
            layer.weight.data.mul_(1.001)

        layer.register_forward_hook(drift)

    verdict = switches_verdict(opened(prepare))
    assert_failed(verdict, r"weights of unet\.conv_in\.weight was .* after a generation")


def test_two_weights_that_change_places_are_seen() -> None:
    sampler = opened()
    taken = Snapshot.take(sampler.pipeline)
    weight = sampler.pipeline.unet.conv_out.weight.data
    weight.copy_(weight.flip(0))
    found = differences(taken, Snapshot.take(sampler.pipeline))
    assert [one.split(" was ")[0] for one in found] == ["weights of unet.conv_out.weight"]


def test_hooks_that_pile_up_are_named() -> None:
    sampler = opened()
    layer = sampler.pipeline.unet.conv_in
    during(sampler, lambda: layer.register_forward_hook(lambda *_: None))
    verdict = switches_verdict(sampler)
    assert_failed(verdict, r"hooks of unet\.conv_in was \d and is \d after a generation")


def test_an_attention_processor_and_slicing_that_a_generation_changes_are_named() -> None:
    from diffusers.models.attention_processor import AttnProcessor

    sampler = opened()

    def change() -> None:
        attention = sampler.pipeline.vae.decoder.mid_block.attentions[0]
        other = AttnProcessor if type(attention.processor) is AttnProcessor2_0 else AttnProcessor2_0
        attention.set_processor(other())
        sampler.pipeline.vae.use_slicing = not sampler.pipeline.vae.use_slicing

    during(sampler, change)
    verdict = switches_verdict(sampler)
    assert_failed(verdict, r"attention processor of vae\.decoder\S+ was .*vae.use_slicing was")


def test_offloading_that_the_variant_does_not_state_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.unet._hf_hook = object()

    assert_failed(switches_verdict(opened(prepare)), "unet is offloaded by accelerate")


def test_a_lora_that_is_not_fused_is_found() -> None:
    def prepare(pipeline: Any) -> None:
        layer = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
        layer.__class__ = type("Linear", (type(layer),), {"__module__": "peft.tuners.lora.layer"})

    verdict = switches_verdict(opened(prepare))
    assert_failed(verdict, r"unet\.mid_block\S+to_q has an adapter that is not fused")


def test_kernels_are_counted_where_attention_runs() -> None:
    eager = inside(opened(recipes.eager_attention)).kernels.total()
    assert 0 < eager < inside(opened()).kernels.total()  # the text encoder's alone


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            Inside(
                allowed=frozenset({"math"}),
                kernels={"scaled_dot_product_efficient_attention": 2},
            ),
            "ran by the efficient kernel, and only these are switched on: math",
        ),
        (
            Inside(
                allowed=frozenset({"flash", "efficient"}),
                processors=frozenset({"_native_flash"}),
                kernels={"scaled_dot_product_efficient_attention": 2},
            ),
            "ran by efficient, and its processors ask for _native_flash",
        ),
    ],
)
def test_a_kernel_that_fell_back_silently_is_named(seen: Inside, said: str) -> None:
    assert said in " ".join(_kernel_faults(seen))


def test_a_kernel_as_asked_for_is_no_fault() -> None:
    flash = {"scaled_dot_product_flash_attention": 2}
    asked = Inside(
        allowed=frozenset({"flash"}), processors=frozenset({"_native_flash"}), kernels=flash
    )
    assert not list(_kernel_faults(asked))


def test_nothing_leaks_from_a_healthy_case(before: Snapshot) -> None:
    opened().close()  # transformers adds a function to torch at its first model
    taken = Snapshot.take()
    sampler = opened(recipes.cudnn_benchmark)
    sampler.generate()
    sampler.close()
    verdict = leak_verdict(taken, Snapshot.take())
    assert verdict.status == "passed", verdict.reason


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (F, "silu", r"torch\.nn\.functional\.silu was replaced \(test_switches\.\S*<lambda>"),
        (F, "scaled_dot_product_attention", r"functional\.scaled_dot_product_attention was"),
        (torch, "cat", r"torch\.cat was replaced"),
        (DDIMScheduler, "step", r"scheduling_ddim\.DDIMScheduler\.step was replaced"),
        (AttnProcessor2_0, "__call__", r"AttnProcessor2_0\.__call__ was replaced"),
        (torch.nn.Linear, "forward", r"Linear\.forward was replaced"),
        (torch.nn.Linear, "__call__", r"Linear\.__call__ was added"),
    ],
)
def test_a_patched_function_is_named(
    before: Snapshot, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, said: str
) -> None:
    original = getattr(owner, name)
    taken = Snapshot.take()
    monkeypatch.setattr(owner, name, lambda *given, **more: original(*given, **more), raising=False)
    left = Snapshot.take()
    monkeypatch.undo()
    assert_failed(leak_verdict(taken, left), f"left behind for the next case: .*{said}")


def set_environment() -> None:
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


@pytest.mark.parametrize(
    ("act", "undo", "said"),
    [
        (
            lambda: torch.use_deterministic_algorithms(True),
            lambda: torch.use_deterministic_algorithms(False),
            "deterministic was 0 and is 2",
        ),
        (
            lambda: torch.set_default_dtype(torch.float64),
            lambda: torch.set_default_dtype(torch.float32),
            "dtype was torch.float32 and is torch.float64",
        ),
        (
            lambda: setattr(torch.backends.cudnn, "benchmark", True),
            lambda: setattr(torch.backends.cudnn, "benchmark", False),
            "cudnn.benchmark was False and is True",
        ),
        (
            set_environment,
            lambda: os.environ.pop("CUBLAS_WORKSPACE_CONFIG"),
            "environment variable CUBLAS_WORKSPACE_CONFIG was absent and is ':4096:8'",
        ),
        (
            lambda: torch.set_grad_enabled(False),
            lambda: torch.set_grad_enabled(True),
            "grad was True and is False",
        ),
    ],
)
def test_a_switch_that_was_left_on_is_named(
    before: Snapshot, act: Callable[[], Any], undo: Callable[[], Any], said: str
) -> None:
    taken = Snapshot.take()
    act()
    try:
        left = Snapshot.take()
    finally:
        undo()
    assert_failed(leak_verdict(taken, left), said)
