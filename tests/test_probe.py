"""One short call of each case: what it costs, also by a clock that stands still."""

import contextlib
import math
from types import SimpleNamespace

import pytest

from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.variants import BUILTIN
from latentcy.suite import probe

CASE = SimpleNamespace(
    id="m/p/one", variant=BUILTIN[0], workload=SimpleNamespace(seeds=(1, 2), steps=50)
)


@pytest.fixture
def probed(monkeypatch):
    monkeypatch.setattr(probe, "untimed", lambda sampler: contextlib.nullcontext())

    def cost(seconds):
        monkeypatch.setattr(probe, "_seconds", lambda sampler, steps: seconds[steps])
        loaded = SimpleNamespace(sampler=lambda case: None, close=lambda: None)
        one = probe.Probe(find_device("cpu"), loaded, calls={CASE.id: 5}, references={CASE.id: ""})
        return one.costs([CASE], {CASE.id: {"SSIM"}})[0]

    return cost


def test_two_calls_tell_a_step_from_the_rest(probed):
    found = probed({2: 1.0, 4: 1.4})
    assert found.step_seconds == pytest.approx(0.1)
    assert found.image_seconds == pytest.approx(0.3)


@pytest.mark.parametrize("seconds", [{2: math.nan, 4: 1.0}, {2: 1.0, 4: math.nan}])
def test_a_clock_that_stands_still_is_no_cost_of_zero(probed, seconds):
    assert not math.isfinite(probed(seconds).call_seconds)
