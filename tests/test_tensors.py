"""Bytes of tensors: counted to the byte, alike every time, and a hungrier variant is seen."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel

from latentcy.gates.memory import TensorMemory, memory_verdict
from latentcy.measure.tensor_memory import Alive, peak_tensor_bytes
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import BUILTIN, Variant
from latentcy.pipelines.workload import workload
from tiny import build_tiny

BASELINE = BUILTIN[0]


def peak(tiny_model, variant):
    device = find_device("cpu")
    model, _ = resolve_model(str(tiny_model), device)
    work = workload("single", height=64, width=64, guidance_scale=2.0, steps=2)
    sampler = open_sampler(model, variant, device, work)
    try:
        return peak_tensor_bytes(sampler), peak_tensor_bytes(sampler)
    finally:
        sampler.close()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def test_what_is_alive_at_once_is_counted_to_the_byte():
    with Alive([]) as alive:
        first = torch.ones(1000)
        second = first + 1  # 8000 bytes with the first
        view = second[10:]  # shares its storage
        del first, second
        torch.ones(500)
    assert alive.peak == 8000
    assert view.numel() == 990


def test_what_was_there_before_counts_and_is_not_counted_twice():
    before = torch.ones(1000)
    with Alive([before.untyped_storage()]) as alive:
        before.add_(1)
    assert alive.peak == 4000


def test_the_same_generation_needs_the_same_bytes_every_time(tiny_model):
    first, second = peak(tiny_model, BASELINE)
    assert first == second > 0


def test_a_second_copy_of_the_unet_is_seen(tiny_model):
    def hoard(pipeline):
        pipeline.spare = copy.deepcopy(pipeline.unet)

    healthy, _ = peak(tiny_model, BASELINE)
    hungry, _ = peak(tiny_model, Variant("hungry", "Twice the UNet.", prepare=hoard))
    copied = sum(part.numel() * 4 for part in _unet(tiny_model).parameters())
    assert hungry - healthy == pytest.approx(copied, rel=0.05)


def _unet(tiny_model):
    return UNet2DConditionModel.from_pretrained(tiny_model / "pipeline" / "unet")


def test_what_the_compiler_made_up_for_its_own_use_is_no_memory(tiny_model):
    """Its stand-ins have symbolic sizes, and hold nothing."""

    def by_the_compiler(pipeline):
        torch._dynamo.reset()
        pipeline.unet.mid_block.resnets[0].compile(backend="eager", dynamic=True)

    device = find_device("cpu")
    model, _ = resolve_model(str(tiny_model), device)
    work = workload("single", height=64, width=64, guidance_scale=2.0, steps=2)
    compiled = Variant("compiled", "By dynamo, unchanged.", prepare=by_the_compiler)
    sampler = open_sampler(model, compiled, device, work)
    try:
        for count in (1, 3, 2):
            sampler.generate(["a red circle"] * count, range(count))
        found = peak_tensor_bytes(sampler)
    finally:
        sampler.close()
        torch.compiler.reset()
    assert type(found) is int
    assert found == pytest.approx(peak(tiny_model, BASELINE)[0], rel=0.05)


def test_a_quarter_more_is_allowed_and_no_more():
    kept = memory_verdict(100, None, 0.1, tensors=TensorMemory(125, 100, "baseline"))
    assert kept.status == "passed"
    assert "at the most against" in kept.reason and "of baseline (25% more allowed)" in kept.reason
    assert (
        memory_verdict(100, None, 0.1, tensors=TensorMemory(126, 100, "baseline")).status
        == "failed"
    )
    assert memory_verdict(100, None, 0.1).status == "inconclusive"
