"""The plan of a run: who gets what of the time, and what the user is told of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from latentcy.core.gates import TIMED_GATES
from latentcy.gates.invariants import placement
from latentcy.gates.invariants import repeatability as sameness
from latentcy.gates.invariants.dtypes import dtype_verdict
from latentcy.gates.invariants.generators import generator
from latentcy.gates.invariants.growth import growth_verdict
from latentcy.gates.invariants.operators import count
from latentcy.gates.invariants.schedule import schedule_verdict
from latentcy.gates.invariants.switches import switches_verdict
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN
from latentcy.pipelines.workload import workload
from latentcy.suite.active_pipeline import Snapshot
from latentcy.suite.run_plan import GATE_DRAWS, LEVELS, PLANNED, CaseCost, ImagePlan, plan_run
from tiny import build_tiny

GATES = frozenset({*GATE_DRAWS, "black images", "SSIM", "CLIP", "latency", "memory"})
FAST = CaseCost("m/p/fast", 0.01, 0.01, seeds=1, steps=50, calls=5, gates=GATES)
SLOW = CaseCost(
    "m/p/slow", 0.4, 0.14, seeds=1, steps=50, calls=5, gates=GATES, why="this CPU has no fp16"
)
ASKED = {"m/p/fast": ImagePlan(16, 50), "m/p/slow": ImagePlan(16, 50)}


def plan(costs, seconds):
    return plan_run(costs, ASKED, seconds)


def test_cheap_cases_get_all_that_was_asked():
    plans = plan([FAST, SLOW], 150.0)
    assert plans["m/p/fast"].images == ImagePlan(16, 50)
    assert plans["m/p/fast"].call_steps is None and not plans["m/p/fast"].words
    assert plans["m/p/slow"].images != ImagePlan(16, 50)


def test_what_is_planned_fits_the_time():
    for seconds in (60.0, 100.0, 200.0, 400.0, 2000.0):
        plans = plan([SLOW, FAST], seconds)
        assert sum(one.seconds for one in plans.values()) <= PLANNED * seconds


def test_more_time_never_gives_a_case_less():
    got = []
    for seconds in range(10, 1200, 10):
        one = plan([FAST, SLOW], float(seconds))["m/p/slow"]
        got.append((one.images.images, one.images.steps, -len(one.left_out)))
    assert got == sorted(got, key=lambda one: (one[0], one[1]))
    assert got[0] != got[-1]


def test_images_stay_where_nothing_else_fits():
    for one in plan([FAST, SLOW], 0.1).values():
        assert one.images == ImagePlan(4, 20)
        assert set(one.left_out) >= {"latency", "growth", "repeat", "schedule"}
        assert not {"black images", "SSIM", "CLIP"} & set(one.left_out)


def test_invariants_go_before_timing_and_the_costliest_first():
    seconds = next(each for each in range(1, 400) if not _timing_left_out(each))
    left_out = plan([SLOW], float(seconds))["m/p/slow"].left_out
    assert left_out and not TIMED_GATES & set(left_out)
    assert "batch" in left_out and "operators" not in left_out


def _timing_left_out(seconds):
    return bool(TIMED_GATES & set(plan([SLOW], float(seconds))["m/p/slow"].left_out))


def test_the_words_say_what_a_case_got_and_why():
    words = plan([SLOW], 120.0)["m/p/slow"].words
    assert words.startswith("8 images in 20 steps, timed once")
    assert words.endswith("one generation takes about 7.4 s, since this CPU has no fp16")


def test_only_what_is_due_is_paid_for():
    few = replace(SLOW, gates=frozenset({"black images"}))
    assert plan([few], 200.0)["m/p/slow"].images == ImagePlan(16, 50)
    assert plan([few], 200.0)["m/p/slow"].seconds == pytest.approx(16 * (0.4 + 50 * 0.14))


def test_fewer_images_than_the_least_are_kept_as_asked():
    asked = {"m/p/slow": ImagePlan(2, 8)}
    assert plan_run([SLOW], asked, 0.1)["m/p/slow"].images == ImagePlan(2, 8)


def test_a_pair_costs_both_of_its_sides():
    alone = replace(FAST, gates=frozenset({"latency", "speed"}))
    paired = replace(alone, reference="m/p/slow")
    asked = dict.fromkeys(ASKED, ImagePlan(0, 50))
    other = replace(SLOW, gates=frozenset())
    costs = [
        plan_run([one, other], asked, 1e6)["m/p/fast"].seconds
        - plan_run([replace(one, gates=frozenset()), other], asked, 1e6)["m/p/fast"].seconds
        for one in (alone, paired)
    ]
    pair = FAST.call_seconds + SLOW.call_seconds
    assert costs[1] - costs[0] == pytest.approx(LEVELS[0].pairs * pair - 5 * FAST.call_seconds)


def test_a_clock_that_stands_still_gives_the_least_and_is_said():
    one = plan([replace(SLOW, step_seconds=math.nan), FAST], 300.0)["m/p/slow"]
    assert one.images == ImagePlan(4, 20) and one.timed == 1
    assert "the clock stood still" in one.words


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    folder = build_tiny(tmp_path_factory.mktemp("plan") / "tiny")
    device = find_device("cpu")
    model, _ = resolve_model(str(folder), device)
    work = workload("single", height=64, width=64, guidance_scale=3.0)
    return open_sampler(model, BUILTIN[0], device, replace(work, steps=12))


INVARIANTS = {
    "repeat": sameness.repeat,
    "batch": sameness.batch,
    "history": sameness.history,
    "seed": sameness.seed,
    "generator": generator,
    "schedule": schedule_verdict,
    "dtype": dtype_verdict,
    "growth": growth_verdict,
    "syncs": count,
    "switches": lambda one: switches_verdict(one, Snapshot.of_parts(one.pipeline)),
    "placement": lambda one: placement.placement(one, lambda: one),
}


@pytest.mark.parametrize("gate", INVARIANTS)
def test_a_gate_draws_what_its_plan_pays(sampler, monkeypatch, gate):
    drawn: dict[int, int] = {}
    call = Sampler._call

    def counted(self, prompts, seeds):
        drawn[self.workload.steps] = drawn.get(self.workload.steps, 0) + len(seeds)
        return call(self, prompts, seeds)

    monkeypatch.setattr(Sampler, "_call", counted)
    monkeypatch.setattr(Sampler, "close", lambda self: None)
    INVARIANTS[gate](sampler)
    draws = GATE_DRAWS[gate]
    steps = draws.call_steps or sampler.workload.steps
    paid = {4: draws.images, steps: draws.calls}
    spent = sum(steps * images for steps, images in drawn.items())
    planned = sum(steps * images for steps, images in paid.items())
    assert 0.75 * planned <= spent <= planned  # what is left out on this machine costs less
