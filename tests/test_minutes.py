"""--minutes: a run that is planned says what it left out, and judges the images in any case."""

from __future__ import annotations

import json

import pytest

from tiny import build_tiny
from whole_run import assert_message, benchmark

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def verdicts(outcome, variant):
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    record = next(one for one in records if one["variant"] == variant)
    return record, {one["gate"]: one for one in record["verdicts"]}


def test_too_few_minutes_leave_the_images_and_say_what_would_do(pytester, tiny):
    outcome = benchmark(pytester, f"--model={tiny}", "--only=bf16", "--minutes=0.001", "-k", "bf16")
    assert outcome.status == 0, outcome.text
    assert "Plan: the least of these cases takes about" in outcome.text
    assert "would do" in outcome.text
    assert "precision/bf16: 4 images in 20 steps, without timing, batch, " in outcome.text
    record, said = verdicts(outcome, "bf16")
    assert said["black images"]["status"] == "passed"
    assert "over 4 images" in said["SSIM"]["reason"]
    for gate in ("latency", "growth", "repeat"):
        assert said[gate]["status"] == "inconclusive"
        assert said[gate]["reason"] == "left out, since there was no time for it (--minutes)"
    assert record["plan"]["images"] == 4 and record["seconds"] is None
    assert "bf16 got 4 images in 20 steps" in " ".join(outcome.text.split())


def test_enough_minutes_give_all_that_was_asked_for(pytester, tiny):
    outcome = benchmark(
        pytester, f"--model={tiny}", "--only=bf16", "--minutes=60", "--images=2", "-k", "ssim"
    )
    assert "Plan: about " in outcome.text and "of the 60 min 0 s of --minutes" in outcome.text
    record, _ = verdicts(outcome, "bf16")
    assert (record["plan"]["images"], record["plan"]["image_steps"]) == (2, 50)
    assert record["plan"]["words"] == "" and " got " not in outcome.text


@pytest.mark.parametrize("minutes", ["-1", "soon", "nan", "inf"])
def test_what_are_no_minutes_is_refused(pytester, tiny, minutes):
    outcome = benchmark(pytester, f"--model={tiny}", f"--minutes={minutes}")
    assert outcome.status == 4
    assert_message(outcome, f"--minutes {minutes}", "0: no limit")
