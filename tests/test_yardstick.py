"""The yardstick measures the machine alone: the same work always, of the model's shapes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latentcy.measure import machine_speed as yardstick
from latentcy.measure.machine_speed import Level, Yardstick, levels
from latentcy.pipelines.devices.device import find_device, switches

UNET = Path(__file__).parents[1] / "fixtures" / "miniature" / "pipeline" / "unet" / "config.json"
SMALL = {"sample_size": 4, "block_out_channels": [8, 16], "cross_attention_dim": 4}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(yardstick, "WORK", 1)
    return Yardstick(SMALL, find_device("cpu"))


def products(function):
    """The shapes of every convolution and matrix product that torch runs inside."""
    with torch.profiler.profile(record_shapes=True) as profile:
        function()
    asked = ("aten::conv2d", "aten::matmul")
    return [str(one.input_shapes[:2]) for one in profile.events() if one.name in asked]


def test_its_seconds_are_a_time(small):
    assert small.seconds() > 0


def test_its_seconds_are_the_median_of_the_passes_after_the_first(small, monkeypatch):
    passes = iter([99.0, 5.0, 1.0, 4.0, 2.0, 3.0])
    monkeypatch.setattr(small, "_pass", lambda inputs: next(passes))
    assert small.seconds() == 3.0


def test_its_shapes_are_the_models():
    config = json.loads(UNET.read_text())
    assert levels(config) == (Level(8, 64, 128), Level(4, 128, 128))


def test_a_config_is_read_as_a_mapping_or_by_attribute():
    assert levels(SimpleNamespace(**SMALL)) == levels(SMALL) == (Level(4, 8, 4), Level(2, 16, 4))


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"sample_size": None, "block_out_channels": (), "cross_attention_dim": "768"},
        {"sample_size": 0, "block_out_channels": [320, -1], "cross_attention_dim": True},
    ],
)
def test_a_config_that_does_not_say_gets_stable_diffusions_shapes(config):
    found = levels(config)
    assert [one.channels for one in found] == [320, 640, 1280, 1280]
    assert [one.side for one in found] == [64, 32, 16, 8]
    assert {one.context for one in found} == {768}


def test_sizes_that_differ_by_side_or_block_take_the_larger():
    assert levels({**SMALL, "sample_size": [4, 6], "cross_attention_dim": (4, 12)})[0] == (
        Level(6, 8, 12)
    )


def test_many_levels_never_shrink_to_nothing():
    assert levels({**SMALL, "block_out_channels": [8] * 5})[-1].side == 1


def test_the_work_is_counted_as_it_is_done():
    one = Level(side=4, channels=8, context=4)
    convolution = 16 * 8 * 8 * 9
    widened = 16 * 8 * 32
    projected = 77 * 4 * 8
    assert one.multiply_adds == 2 * (convolution + widened + projected)


def test_how_often_it_runs_follows_from_the_config_alone():
    device = find_device("cpu")
    miniature = Yardstick(json.loads(UNET.read_text()), device)
    total = miniature.times * sum(one.multiply_adds for one in miniature.levels)
    assert total == pytest.approx(yardstick.WORK, rel=0.01)
    assert Yardstick({}, device).times == yardstick.LEAST_TIMES


def test_every_call_does_the_same_work(small):
    first = products(small.seconds)
    per_pass = small.times * 3 * len(small.levels)
    assert len(first) == per_pass * (1 + yardstick.PASSES)
    assert products(small.seconds) == first


def test_its_inputs_are_seeded_and_fp32(small):
    torch.manual_seed(1)
    one = small._inputs()
    torch.manual_seed(2)
    other = small._inputs()
    for left, right in zip(sum(one, ()), sum(other, ()), strict=True):
        assert left.dtype == torch.float32
        assert torch.equal(left, right)


def test_tf32_is_off_while_it_runs_whatever_the_caller_has_set(small, monkeypatch):
    matmul = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(matmul, "fp32_precision") else "allow_tf32"
    seen = []
    monkeypatch.setattr(small, "_pass", lambda inputs: seen.append(getattr(matmul, name)) or 1.0)
    with switches(tf32=True):
        small.seconds()
        assert getattr(matmul, name) in ("tf32", True)
    assert set(seen) <= {"ieee", False}


def test_it_can_be_closed_twice_and_used_again(small):
    small.close()
    small.close()
    assert small.seconds() > 0
