"""The dtype gate: weights and what flows, as the variant states, and the culprit by its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from invariant_cases import assert_failed, assert_said, opened
from latentcy.gates.invariants.dtypes import dtype_verdict, is_quantised


def test_a_part_in_another_dtype_is_named_by_its_first_weight() -> None:
    def prepare(pipeline: Any) -> None:
        nn.Module.to(pipeline.text_encoder, torch.bfloat16)

    said = r"text_encoder\.\S+ is bfloat16.* more of .*the variant states float32 for all weights"
    assert_failed(dtype_verdict(opened(prepare)), said)


def test_a_single_norm_in_fp32_among_half_weights_is_named() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.vae.decoder.conv_norm_out.float()

    verdict = dtype_verdict(opened(prepare, dtype="bfloat16"))
    assert_failed(verdict, r"vae\.decoder\.conv_norm_out\.weight is float32")


def test_a_buffer_in_another_dtype_is_named() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.unet.register_buffer("scale", torch.ones(1, dtype=torch.float64))

    assert_failed(dtype_verdict(opened(prepare)), r"unet\.scale is float64")


def test_an_fp32_island_whose_ends_are_cast_back_is_named() -> None:
    def prepare(pipeline: Any) -> None:
        layer = pipeline.unet.mid_block.resnets[0].time_emb_proj

        def forward(given: torch.Tensor) -> torch.Tensor:
            made = F.linear(given.float(), layer.weight.float(), layer.bias.float())
            return made.to(given.dtype)

        layer.forward = forward

    verdict = dtype_verdict(opened(prepare, dtype="bfloat16"))
    assert_failed(verdict, r"^unet\.mid_block\.resnets\.0\.time_emb_proj computes in float32")


def test_an_upcast_that_flows_on_is_named_where_it_begins() -> None:
    def prepare(pipeline: Any) -> None:
        # What follows takes it: the decoder's last layers are cast as well.
        pipeline.vae.decoder.conv_out.register_forward_hook(
            lambda module, given, output: output.float()
        )

    verdict = dtype_verdict(opened(prepare, dtype="bfloat16"))
    assert_failed(verdict, r"^vae\.decoder\.conv_out gives float32")


def test_a_module_that_leaves_autocast_is_named() -> None:
    def prepare(pipeline: Any) -> None:
        layer = pipeline.unet.mid_block.resnets[0].conv1
        forward = layer.forward

        def plain(given: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", enabled=False):
                return forward(given.float())

        layer.forward = plain

    verdict = dtype_verdict(opened(prepare, autocast="float16", cpu_autocast="bfloat16"))
    assert_failed(verdict, r"^unet\.mid_block\.resnets\.0\.conv1 computes in float32")


def test_an_upcast_that_was_lost_is_named() -> None:
    def prepare(pipeline: Any) -> None:
        pipeline.vae.decoder.mid_block.attentions[0].upcast_softmax = False

    verdict = dtype_verdict(opened(prepare))
    assert_failed(verdict, r"vae\.decoder\.mid_block\.attentions\.0 makes its softmax without")


def test_float8_storage_and_wrapped_tensors_are_quantised() -> None:
    class Wrapped(torch.Tensor):
        pass

    assert is_quantised(torch.zeros(2).to(torch.float8_e4m3fn))
    assert is_quantised(torch.zeros(2).as_subclass(Wrapped))
    assert not is_quantised(nn.Parameter(torch.zeros(2)))
    assert not is_quantised(torch.zeros(2))


def test_weights_that_are_quantised_are_counted_and_pass() -> None:
    class Quantised(nn.Linear):
        """A linear layer that keeps float8 and computes in its input's dtype."""

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return F.linear(given, self.weight.to(given.dtype), self.bias)

    def prepare(pipeline: Any) -> None:
        layer = pipeline.unet.mid_block.resnets[0].time_emb_proj
        layer.__class__ = Quantised
        layer.weight = nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)

    verdict = dtype_verdict(opened(prepare))
    assert verdict.status == "passed", verdict.reason
    assert_said(verdict, r"\(1 of them quantised\)")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_no_hook_is_left(part: str) -> None:
    sampler = opened()
    dtype_verdict(sampler)
    modules = getattr(sampler.pipeline, part).modules()
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in modules)
