"""Every gate fails for the right reason, and NaN never passes."""

import math
from types import SimpleNamespace

import pytest

from latentcy.judge.baselines import StoredBaseline, published
from latentcy.judge.images import ImageHealth
from latentcy.judge.verdicts import (
    clip_verdict,
    image_verdict,
    latency_verdict,
    memory_verdict,
    ssim_verdict,
)

NAN = math.nan
PRINT = {"device": "cpu", "device_name": "CPU", "model": "miniature", "workload": "w", "torch": "1"}
STORED = StoredBaseline("miniature/precision/fp16", PRINT, 1.0, (1.0,), 100 * 2**20, "2025-01-01")
FLOOR = SimpleNamespace(value=0.98, reason="")
DROP = SimpleNamespace(value=0.02, reason="")
FP16 = published("sd15", "precision", "fp16")
A100 = {"published": FP16, "device_name": "NVIDIA A100-SXM4-80GB", "model": "sd15"}


def test_latency_within_the_tolerance_of_the_stored_baseline_passes():
    assert latency_verdict(1.1, STORED, 0.1, fingerprint=PRINT).status == "passed"


def test_latency_beyond_the_tolerance_fails_and_says_by_how_much():
    verdict = latency_verdict(1.25, STORED, 0.1, fingerprint=PRINT)
    assert (verdict.gate, verdict.status) == ("latency", "failed")
    assert "25.0% slower than the 1 s stored 2025-01-01 (10% slower allowed)" in verdict.reason


@pytest.mark.parametrize("seconds", [NAN, math.inf, 0.0, -1.0])
def test_a_latency_that_is_none_never_passes(seconds):
    assert latency_verdict(seconds, STORED, 0.1, fingerprint=PRINT).status == "failed"


@pytest.mark.parametrize("tolerance", [NAN, math.inf, -0.1])
def test_a_tolerance_that_is_none_never_passes(tolerance):
    assert latency_verdict(1.0, STORED, tolerance, fingerprint=PRINT).status == "failed"


def test_a_missing_baseline_is_said_and_not_failed():
    verdict = latency_verdict(1.0, None, 0.1)
    assert verdict.status == "inconclusive"
    assert "no baseline is stored" in verdict.reason


def test_another_devices_baseline_is_never_compared():
    verdict = latency_verdict(9.0, STORED, 0.1, fingerprint={**PRINT, "device": "gpu"})
    assert verdict.status == "inconclusive"
    assert "device: gpu here, cpu stored" in verdict.reason


def test_another_torch_is_compared():
    verdict = latency_verdict(9.0, STORED, 0.1, fingerprint={**PRINT, "torch": "2"})
    assert verdict.status == "failed"


def test_on_an_a100_the_published_latency_and_speedup_bind():
    assert latency_verdict(3.5, None, 0.1, speedup=1.5, **A100).status == "passed"
    slow = latency_verdict(4.0, None, 0.1, speedup=1.5, **A100)
    assert slow.status == "failed" and "published 3.51 s" in slow.reason
    flat = latency_verdict(3.5, None, 0.1, speedup=1.0, **A100)
    assert flat.status == "failed" and "speed-up 1 against the published 1.5" in flat.reason
    assert "published 3.51 s" not in flat.reason


def test_a_nan_speedup_never_passes():
    assert latency_verdict(3.5, None, 0.1, speedup=NAN, **A100).status == "failed"


@pytest.mark.parametrize("other", [{"device_name": "NVIDIA H200"}, {"model": "miniature"}])
def test_published_figures_never_bind_another_device_or_model(other):
    assert latency_verdict(99.0, None, 0.1, speedup=0.1, **{**A100, **other}).status == (
        "inconclusive"
    )


def test_a_kept_stored_baseline_does_not_hide_a_broken_published_one():
    verdict = latency_verdict(4.0, None, 0.1, speedup=1.5, **A100)
    stored = StoredBaseline("c", PRINT, 4.0, (4.0,), None, "2025-01-01")
    assert verdict.status == "failed"
    assert latency_verdict(4.0, stored, 0.1, speedup=1.5, **A100).status == "failed"


def test_memory_beyond_the_tolerance_fails():
    assert memory_verdict(104 * 2**20, STORED, 0.05).status == "passed"
    verdict = memory_verdict(106 * 2**20, STORED, 0.05)
    assert verdict.status == "failed" and "106 MiB against 100 MiB" in verdict.reason


def test_memory_that_is_unknown_never_passes():
    assert memory_verdict(None, STORED, 0.05).status == "inconclusive"
    assert memory_verdict(1, None, 0.05).status == "inconclusive"
    assert memory_verdict(1, STORED, NAN).status == "failed"


def test_ssim_below_the_floor_fails_with_the_numbers():
    assert ssim_verdict([0.99, 0.98], FLOOR).status == "passed"
    verdict = ssim_verdict([0.99, 0.95], FLOOR)
    assert (verdict.gate, verdict.status) == ("quality", "failed")
    assert "SSIM 0.9700" in verdict.reason and "least 0.9500" in verdict.reason


@pytest.mark.parametrize("values", [[NAN], [1.0, NAN], [1.0, math.inf]])
def test_a_non_finite_ssim_never_passes(values):
    verdict = ssim_verdict(values, FLOOR)
    assert verdict.status == "failed" and "not a number for 1" in verdict.reason


def test_a_nan_tolerance_never_passes():
    nan = SimpleNamespace(value=NAN, reason="")
    assert ssim_verdict([1.0], nan).status == "failed"
    assert clip_verdict([90.0], [80.0], nan).status == "failed"


def test_clip_drop_is_paired_and_fails_beyond_the_tolerance():
    assert clip_verdict([80.0, 29.0], [81.0, 30.0], DROP).status == "passed"
    verdict = clip_verdict([80.0, 20.0], [81.0, 30.0], DROP)
    assert verdict.status == "failed" and "a paired drop of 5.50" in verdict.reason


def test_a_clip_score_above_the_references_passes():
    assert clip_verdict([90.0], [80.0], DROP).status == "passed"


def test_a_nan_clip_never_passes():
    assert clip_verdict([NAN, 90.0], [80.0, 80.0], DROP).status == "failed"
    assert clip_verdict([90.0], [NAN], DROP).status == "inconclusive"


def test_unpaired_clip_scores_are_refused():
    with pytest.raises(ValueError, match="1 CLIP scores against 2"):
        clip_verdict([1.0], [1.0, 2.0], DROP)


def test_nothing_judged_is_no_pass():
    assert ssim_verdict([], FLOOR).status == "inconclusive"
    assert clip_verdict([], [], DROP).status == "inconclusive"
    assert image_verdict(()).status == "inconclusive"


def test_a_broken_image_fails_with_its_reason_and_its_origin():
    healths = (ImageHealth(True, index=0), ImageHealth(False, "black", 1), ImageHealth(True))
    assert image_verdict((healths[0], healths[2])).status == "passed"
    origin = SimpleNamespace(sentence="the first non-finite value was born in vae")
    verdict = image_verdict(healths, origin)
    assert (verdict.gate, verdict.status) == ("black images", "failed")
    assert verdict.reason == (
        "1 of 3 images: black (1); the first non-finite value was born in vae"
    )


def test_a_clip_drop_is_judged_on_the_scorers_own_scale():
    assert clip_verdict([87.0], [88.0], DROP).status == "passed"
    assert clip_verdict([26.0], [27.0], DROP).status == "failed"


def test_a_published_figure_of_another_setup_does_not_bind_and_says_why():
    row = published("sd15", "precision", "baseline")
    verdict = latency_verdict(9.0, None, 0.1, speedup=1.0, **{**A100, "published": row})
    assert verdict.status == "inconclusive"
    assert "tf32 on for its convolutions" in verdict.reason
