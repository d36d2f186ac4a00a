"""The time of a run: what goes by is booked, and what does not fit any more is left out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from latentcy.suite.run_plan import NO_TIME, CaseCost, ImagePlan
from latentcy.suite.run_time import RunTime, duration

GATES = frozenset({"black images", "repeat", "growth", "latency", "memory"})
CASES = [SimpleNamespace(id=f"m/p/{name}") for name in ("one", "two")]
COSTS = [
    CaseCost(case.id, 0.0, 0.1, seeds=1, steps=10, calls=5, gates=GATES, why="it is slow")
    for case in CASES
]


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def opened(clock, minutes):
    return RunTime(minutes, {case.id: ImagePlan(16, 10) for case in CASES}, now=clock)


def test_without_a_limit_nothing_is_planned_and_nothing_left_out(clock):
    time = opened(clock, 0)
    assert not time.limited and time.plan(COSTS) == ()
    clock.seconds += 1e6
    assert time.of(CASES[0]).images == ImagePlan(16, 10)
    assert time.left_out(CASES[0], "growth") is None
    assert time.spare(CASES[0]) is None and time.left() is None


def test_the_plan_says_how_long_it_takes_and_who_gets_less(clock):
    lines = opened(clock, 0.75).plan(COSTS)
    assert lines[0].startswith("Plan: about ") and lines[0].endswith("of the 45 s of --minutes")
    assert all("images in 10 steps" in line and "it is slow" in line for line in lines[1:])


def test_too_few_minutes_say_how_many_would_do(clock):
    lines = opened(clock, 0.01).plan(COSTS)
    assert "the least of these cases takes about" in lines[0]
    assert lines[0].endswith("--minutes 1 would do")


def test_a_gate_is_left_out_once_the_time_is_over(clock):
    time = opened(clock, 5)
    time.plan(COSTS)
    time.begin(CASES[0])
    time.begin(CASES[1])
    assert time.left_out(CASES[1], "growth") is None
    clock.seconds += 299.9
    assert time.left_out(CASES[1], "growth") == NO_TIME
    assert time.of(CASES[1]).words.endswith("without growth: the time was over")
    assert time.left_out(CASES[1], "black images") is None


def test_a_gate_left_out_is_taken_up_where_time_is_left_over(clock):
    time = opened(clock, 0.4)
    time.plan(COSTS)
    assert "growth" in time.of(CASES[0]).left_out and "growth" in time.of(CASES[0]).words
    time.begin(CASES[0])
    assert time.left_out(CASES[0], "growth") is None  # a fifth of the time was given to nobody
    assert "growth" not in time.of(CASES[0]).words
    time.begin(CASES[1])
    clock.seconds += 22
    assert time.left_out(CASES[1], "growth") == NO_TIME


def test_timing_left_out_is_taken_up_where_time_is_left_over(clock):
    time = opened(clock, 0.2)
    time.plan(COSTS)
    assert {"latency", "growth"} <= time.of(CASES[0]).left_out
    time.begin(CASES[0])
    time.begin(CASES[1])
    assert time.left_out(CASES[1], "latency") is None
    assert "timing" not in time.of(CASES[1]).words
    clock.seconds += 11.5
    assert time.left_out(CASES[0], "latency") == NO_TIME


def test_images_of_cases_to_come_are_kept_free(clock):
    time = opened(clock, 5)
    time.plan(COSTS)
    time.begin(CASES[0])
    clock.seconds += 300 - time.of(CASES[1]).needed_first - 0.5
    assert time.left_out(CASES[0], "growth") == NO_TIME
    time.begin(CASES[1])
    assert time.left_out(CASES[1], "repeat") is None


def test_spare_time_is_what_no_plan_has_claimed(clock):
    time = opened(clock, 5)
    time.plan(COSTS)
    time.begin(CASES[0])
    planned = sum(time.of(case).seconds for case in CASES)
    assert time.spare(CASES[0]) == pytest.approx(300 - planned)
    clock.seconds += 250
    assert time.spare(CASES[0]) == pytest.approx(50 - time.of(CASES[1]).seconds)


def test_more_images_are_given_while_there_is_time(clock):
    time = RunTime(6, {"m/p/one": ImagePlan(64, 50)}, now=clock)
    cost = CaseCost("m/p/one", 0.4, 0.14, seeds=1, steps=50, calls=5, gates=frozenset({"SSIM"}))
    time.plan([cost])
    time.begin(CASES[0])
    assert time.of(CASES[0]).images == ImagePlan(16, 25)
    clock.seconds += 16 * 3.9
    assert time.more_images(CASES[0]) == time.of(CASES[0]).images == ImagePlan(32, 25)
    clock.seconds += 32 * 3.9
    assert time.more_images(CASES[0]) is None


def test_what_is_left_follows_the_pace_so_far(clock):
    time = opened(clock, 5)
    time.plan(COSTS)
    time.begin(CASES[0])
    planned = time.of(CASES[0]).seconds
    assert time.left() == pytest.approx(2 * planned)
    clock.seconds += 3 * planned  # three times as slow as planned
    time.begin(CASES[1])
    assert time.left() == pytest.approx(3 * planned)


def test_durations_are_said_in_minutes_and_seconds():
    assert duration(59.6) == "1 min 0 s"
    assert duration(7.4) == "7 s"
    assert duration(260) == "4 min 20 s"
