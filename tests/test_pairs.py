"""Whole runs by pairs: a slowed variant fails, a healthy one does not, and nonsense is said."""

from __future__ import annotations

import json
import re
import textwrap

import pytest

from latentcy.gates.speed import CONFIDENCE
from latentcy.stats.looks import looks_for
from other_environment import NotInstalled, build_other_environment
from tiny import build_tiny
from whole_run import assert_message, assert_no_traceback, benchmark, benchmark_process

pytestmark = pytest.mark.system

VARIANTS = textwrap.dedent(
    """
    import os
    import signal
    import sys
    import time

    from latentcy import Variant

    def slow_down(pipeline):
        forward = pipeline.unet.forward
        def slowed(*arguments, **settings):
            started = time.perf_counter()
            output = forward(*arguments, **settings)
            until = time.perf_counter() + 0.07 * (time.perf_counter() - started)
            while time.perf_counter() < until:
                pass
            return output
        pipeline.unet.forward = slowed

    def die_elsewhere(pipeline):
        if "pytest" in sys.modules:
            return
        calls = []
        def die(module, inputs):
            calls.append(1)
            if len(calls) > 30:
                print("the last words of a worker", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        pipeline.unet.register_forward_pre_hook(die)

    SHORT = {"reference": "short", "ssim_reference": "short", "steps": 6}
    VARIANTS = [
        Variant("short", "Six steps.", **SHORT),
        Variant("slowed", "About 5 % slower.", prepare=slow_down, **SHORT),
        Variant("same", "Nothing.", **SHORT),
        Variant("free", "Slower.", prepare=slow_down, no_slower_on=("cuda",), **SHORT),
        Variant("dying", "Kills the other environment's process.", prepare=die_elsewhere, **SHORT),
    ]
    """
)
TIMING = ("-k", "test_latency or test_speed", "--images=1", "--rounds=2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    file = tmp_path_factory.mktemp("variants") / "mine.py"
    file.write_text(VARIANTS)
    return file


@pytest.fixture(scope="module")
def slowed(tmp_path_factory, variants):
    """A slowed and a healthy variant of the miniature, in one run, timed until it is known."""
    folder = tmp_path_factory.mktemp("slowed")
    chosen = ("--no-builtin", "--only=short,slowed,same,free", "--model=miniature")
    return benchmark_process(folder, f"--variants={variants}", *chosen, *TIMING)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The python of an environment with another version of diffusers."""
    try:
        return build_other_environment(tmp_path_factory.mktemp("elsewhere"))
    except NotInstalled as error:
        pytest.skip(f"no other diffusers can be installed here: {error}")


def records(outcome):
    written = json.loads((outcome.results / "run.json").read_text())["records"]
    return {record["variant"]: record for record in written}


def verdict(outcome, variant, gate="speed"):
    return next(one for one in records(outcome)[variant]["verdicts"] if one["gate"] == gate)


def test_a_variant_slowed_by_5_percent_fails_and_says_by_how_much(slowed):
    assert slowed.status == 1
    said = verdict(slowed, "slowed")
    assert said["status"] == "failed"
    one = records(slowed)["slowed"]["comparison"]
    assert 1.01 < one["low"] < one["ratio"] < one["high"]
    assert one["low"] < 1.06 and one["high"] > 1.04  # the interval is about what was added
    assert f"{100 * (one['ratio'] - 1):.2f} % slower (" in said["reason"]
    assert one["looks"] == 4
    assert f"than short, 1 % slower allowed; {one['pairs']} pairs, p " in said["reason"]


def test_a_healthy_variant_beside_it_does_not_fail(slowed):
    said = verdict(slowed, "same")
    assert said["status"] in ("passed", "inconclusive")
    one = records(slowed)["same"]["comparison"]
    assert one["low"] <= 1.01
    assert "precision/same: " in slowed.text


def test_a_variant_without_a_promise_here_is_timed_alone_and_not_judged(slowed):
    record = records(slowed)["free"]
    assert record["pairs"] is None and record["comparison"] is None
    assert len(record["rounds"]) == 2  # --rounds
    assert 0 < record["speedup"] < 1.5
    assert "speed" not in {one["gate"] for one in record["verdicts"]}


def test_the_run_says_how_many_pairs_it_may_take_and_how_many_it_took(slowed):
    assert re.search(r"slowed: pairs of about \S+ s until it is known, at most 80", slowed.text)
    many = records(slowed)["slowed"]["comparison"]["pairs"]
    assert re.search(rf"slowed: {many} pairs; \S+ % slower", slowed.text)


def test_the_pairs_are_recorded_one_by_one_with_their_order(slowed):
    pairs = records(slowed)["slowed"]["pairs"]
    many = records(slowed)["slowed"]["comparison"]["pairs"]
    assert many in looks_for(2, CONFIDENCE).pairs  # two promise speed here
    assert len(pairs["reference"]) == len(pairs["candidate"]) == many
    assert sum(pairs["reference_first"]) == many // 2
    assert pairs["candidate"] == records(slowed)["slowed"]["rounds"]
    assert isinstance(pairs["seed"], int)


def test_the_run_says_what_timing_cost_and_how_much_of_it_was_generating(slowed):
    assert "% to the generations that were timed." in slowed.text
    assert "% were spent generating." in slowed.text
    one = records(slowed)["slowed"]  # a machine that changed under the case has no yardstick
    assert (one["yardstick_seconds"] or 0) > 0 or "yardstick" in " ".join(one["marks"])


def test_too_few_pairs_decide_nothing_and_say_how_many_would(pytester, tiny, variants):
    outcome = benchmark(
        pytester, f"--model={tiny}", f"--variants={variants}", "--only=slowed", "--pairs=3", *TIMING
    )
    assert outcome.status == 0
    assert "3 pairs are too few, 7 are the least" in verdict(outcome, "slowed")["reason"]


def test_a_budget_that_allows_none_is_said_and_decides_nothing(pytester, tiny, variants):
    arguments = (f"--model={tiny}", f"--variants={variants}", "--only=slowed", "--budget=0.01")
    outcome = benchmark(pytester, *arguments, *TIMING)
    said = verdict(outcome, "slowed")
    assert said["status"] == "inconclusive"
    assert "there was time for 1 of at most 80 pairs (--minutes, --budget)" in said["reason"]


def test_without_pairs_the_gate_is_open_and_says_why(pytester, tiny, variants):
    arguments = (f"--model={tiny}", f"--variants={variants}", "--only=slowed", "--pairs=0")
    said = verdict(benchmark(pytester, *arguments, *TIMING), "slowed")
    assert (said["status"], said["reason"]) == (
        "inconclusive",
        "no pairs were asked for (--pairs 0)",
    )


def test_the_self_check_times_each_case_with_itself_and_counts_false_alarms(
    pytester, tiny, variants
):
    chosen = (f"--variants={variants}", "--only=short", "--trials=2")
    outcome = benchmark(pytester, f"--model={tiny}", "--self-check", *chosen)
    one = records(outcome)["short"]
    assert one["paired_with"] == "itself"
    pairs = looks_for(1, CONFIDENCE).pairs
    assert one["comparison"]["pairs"] in {first + second for first in pairs for second in pairs}
    assert "false alarms in 2 trials (" in verdict(outcome, "short", "self-check")["reason"]
    assert "Self-check: " in outcome.text and "exact 95 % interval" in outcome.text
    assert "test_clip" not in outcome.text


def test_an_upgrade_is_held_against_another_environment(pytester, tiny, variants, elsewhere):
    outcome = benchmark(
        pytester,
        f"--model={tiny}",
        f"--variants={variants}",
        "--no-builtin",
        "--only=short,dying",
        "--images=2",
        "--pairs=7",
        f"--against={elsewhere}",
    )
    assert outcome.status == 1
    assert_no_traceback(outcome)
    dead = verdict(outcome, "dying", "latency")
    assert dead["status"] == "failed"
    assert "the last words of a worker" in outcome.text
    assert "killed" in dead["reason"].lower() or "SIGKILL" in dead["reason"]
    healthy = records(outcome)["short"]
    assert len(healthy["pairs"]["reference"]) == 7
    assert "diffusers" in verdict(outcome, "short")["reason"]
    assert "there)" in verdict(outcome, "short")["reason"]
    assert verdict(outcome, "short", "SSIM")["status"] == "passed"
    assert healthy["ssim"] > 0.99
    assert healthy["speedup"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--against=/no/such/python",), "/no/such/python"),
        (("--against=/bin/true",), "/bin/true"),
        (("--self-check", "--against=python3"), "--self-check with --against"),
        (("--self-check", "--benchmark-record"), "--benchmark-record with --self-check"),
        (("--benchmark-timer=time.process_time",), "--benchmark-timer time.process_time"),
        (("--budget=-1",), "--budget -1"),
        (("--precision=nan",), "--precision nan"),
        (("--pairs=-2",), "--pairs -2"),
        (("--pairs=many",), "--pairs many"),
    ],
)
def test_a_setting_that_cannot_be_meant_stops_the_run_with_a_message(
    pytester, tiny, arguments, said
):
    outcome = benchmark(pytester, f"--model={tiny}", *arguments)
    assert_message(outcome, said)
    assert outcome.status == 4
