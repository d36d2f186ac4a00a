"""A record survives JSON, NaN included, and what is no record is refused."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.verdict import Verdict

NAMES = ("miniature/precision/fp16", "miniature", "precision", "fp16", "half precision", "CPU")
FULL = Record(
    *NAMES,
    seconds=0.5,
    rounds=(0.4, 0.6),
    speedup=1.5,
    published_seconds=3.51,
    published_speedup=1.5,
    peak_bytes=1000,
    stages={"denoising": 0.4},
    clip=88.0,
    ssim=0.99,
    profile={"PSNR": {"mean": 40.0, "worst": 30.5, "n": 16}},
    counters={"operators": 120},
    verdicts=(Verdict("latency", "passed", "fine"),),
    environment={"torch": "2.4"},
)


def strict(data):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(json.dumps(data), parse_constant=refuse)


def test_a_record_comes_back_from_json_as_it_was():
    assert Record.from_dict(strict(FULL.to_dict())) == FULL


def test_nan_survives_as_valid_json():
    profile = {"PSNR": {"mean": math.inf}}
    record = Record(*NAMES, ssim=math.nan, clip=-math.inf, rounds=(math.inf,), profile=profile)
    back = Record.from_dict(strict(record.to_dict()))
    assert math.isnan(back.ssim) and back.clip == -math.inf and back.rounds == (math.inf,)
    assert back.profile == profile


def test_numpy_numbers_become_json():
    data = Record(*NAMES, clip=np.float32(2.5), peak_bytes=7).to_dict()
    assert strict(data)["clip"] == 2.5


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((), "inconclusive"),
        (("passed",), "passed"),
        (("passed", "inconclusive"), "inconclusive"),
        (("inconclusive", "failed", "passed"), "failed"),
        (("passed", "a status of another version"), "failed"),
    ],
)
def test_the_status_is_the_worst_verdict(statuses, expected):
    verdicts = tuple(Verdict("latency", status, "") for status in statuses)
    assert Record(*NAMES, verdicts=verdicts).status == expected


def test_a_skipped_record_is_skipped():
    assert Record(*NAMES, skipped="no GPU").status == "skipped"


@pytest.mark.parametrize(
    "data", [{}, {"schema": 2}, {"schema": 1}, None, {**FULL.to_dict(), "clip": "much"}]
)
def test_what_is_no_record_is_refused(data):
    with pytest.raises(LatentcyError, match="record of schema 5"):
        Record.from_dict(data)


def test_a_record_of_the_schema_before_is_read_without_what_it_could_not_hold():
    data = FULL.to_dict() | {"schema": 3}
    del data["profile"], data["counters"], data["image_reference"]
    assert Record.from_dict(data) == replace(FULL, profile=None, counters=None)


def test_track_imports_without_torch():
    code = "import sys, latentcy.report.terminal; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
