"""Every gate fails for the right reason, and NaN never passes."""

import math
import random
from types import SimpleNamespace

import pytest
import scipy.stats

from latentcy.gates.black_images import image_verdict
from latentcy.gates.latency import LatencyMeasurement, latency_verdict
from latentcy.gates.memory import memory_verdict
from latentcy.gates.ssim_and_clip import clip_verdict, ssim_verdict
from latentcy.measure.images.health import ImageHealth
from latentcy.stats.prediction_bound import prediction_bound
from latentcy.store.baselines import StoredBaseline, StoredRun
from latentcy.store.published_tables import published

NAN = math.nan
PRINT = {"device": "cpu", "device_name": "CPU", "model": "miniature", "workload": "w"}
TORCH = {"torch": "2.12.0", "diffusers": "0.30"}
FLOOR = SimpleNamespace(value=0.98, reason="")
DROP = SimpleNamespace(value=0.02, reason="")
FP16 = published("sd15", "precision", "fp16")
A100 = {"published": FP16, "device_name": "NVIDIA A100-SXM4-80GB", "model": "sd15"}


def baseline(*seconds, yardsticks=None, peaks=None):
    """Stored runs of these median seconds, one a day."""
    runs = [
        StoredRun(
            recorded=f"2025-01-{day:02}T12:00:00+00:00",
            seconds=value,
            rounds=(value, value),
            yardstick_seconds=yardsticks[day - 1] if yardsticks else None,
            peak_bytes=peaks[day - 1] if peaks else None,
            versions=TORCH,
        )
        for day, value in enumerate(seconds, 1)
    ]
    return StoredBaseline("miniature/precision/fp16", PRINT, tuple(runs))


STORED = baseline(1.0, peaks=[100 * 2**20])
TEN = (0.98, 0.99, 1.0, 1.01, 1.02, 0.98, 0.99, 1.0, 1.01, 1.02)


def latency(seconds, stored=STORED, tolerance=0.1, **settings):
    """The verdict on rounds whose median is `seconds`."""
    rounds = [seconds * 0.99, seconds, seconds * 1.01]
    published = settings.pop("published", None)
    measured = LatencyMeasurement(rounds, **{"fingerprint": PRINT} | settings)
    return latency_verdict(measured, stored, tolerance, published=published)


def test_latency_within_the_tolerance_of_the_stored_baseline_passes():
    assert latency(1.1).status == "passed"


def test_latency_beyond_the_tolerance_fails_and_says_by_how_much():
    verdict = latency(1.25)
    assert (verdict.gate, verdict.status) == ("latency", "failed")
    assert verdict.reason.startswith(
        "1.25 s: 25.0% slower than the 1 s stored 2025-01-01 (10% slower allowed, the stated "
        "tolerance while fewer than 10 runs are stored)"
    )


def test_a_few_runs_are_held_against_by_their_median():
    few = baseline(1.0, 9.0, 2.0)
    assert latency(2.2, few).status == "passed"
    verdict = latency(2.3, few)
    assert verdict.status == "failed"
    assert "than the 2 s stored as the median of 3 runs, the latest 2025-01-03" in verdict.reason


def test_ten_runs_set_their_own_bound_whatever_the_tolerance():
    logs = [math.log(value) for value in TEN]
    error = scipy.stats.tstd(logs) * math.sqrt(1 + 1 / 10)
    bound = math.exp(sum(logs) / 10 + scipy.stats.t.ppf(0.99, 9) * error)
    assert latency(bound * 0.9999, baseline(*TEN), 0.0).status == "passed"
    verdict = latency(bound * 1.0001, baseline(*TEN), 0.5)
    assert verdict.status == "failed"
    assert "4.5% slower allowed, the 99% prediction bound over 10 stored runs" in verdict.reason


def test_nine_runs_do_not_set_the_bound():
    verdict = latency(1.09, baseline(*TEN[:9]))
    assert verdict.status == "passed"
    assert "the stated tolerance while fewer than 10 runs are stored" in verdict.reason


def test_runs_that_are_all_the_same_set_no_bound_of_their_own():
    same = baseline(*[1.0] * 10)
    assert latency(1.05, same).status == "passed"
    verdict = latency(1.15, same)
    assert verdict.status == "failed"
    assert "the stated tolerance, as all 10 stored runs took the same time" in verdict.reason


def test_a_slower_machine_is_told_from_a_slower_pipeline():
    stored = baseline(0.91, yardsticks=[0.033])
    verdict = latency(0.999, stored, 0.05, yardstick_seconds=0.036)
    assert verdict.status == "passed"
    assert "9.8% slower than the 0.91 s stored" in verdict.reason
    assert (
        "the machine itself is 9.1% slower today by its yardstick, the pipeline 0.6% slower"
    ) in verdict.reason


def test_a_faster_machine_does_not_hide_a_slower_pipeline():
    stored = baseline(1.0, yardsticks=[0.030])
    verdict = latency(1.0, stored, yardstick_seconds=0.024)
    assert verdict.status == "failed"
    assert (
        "the machine itself is 20.0% faster today by its yardstick, the pipeline 25.0% slower"
    ) in verdict.reason


def test_the_prediction_bound_takes_drift_out_too():
    drift = [1 + day / 10 for day in range(10)]
    stored = baseline(
        *(value * factor for value, factor in zip(TEN, drift, strict=True)),
        yardsticks=[0.03 * factor for factor in drift],
    )
    assert latency(4.0, stored, yardstick_seconds=0.12).status == "passed"
    verdict = latency(1.3, stored, yardstick_seconds=0.03)
    assert verdict.status == "failed"
    assert "4.5% slower allowed" in verdict.reason
    assert latency(1.3, stored).status == "passed"  # in raw seconds, nothing unusual


@pytest.mark.parametrize("yardstick", [None, NAN, 0.0, -1.0, math.inf])
def test_without_a_yardstick_raw_seconds_are_compared_and_it_is_said(yardstick):
    stored = baseline(1.0, yardsticks=[0.03])
    verdict = latency(1.2, stored, yardstick_seconds=yardstick)
    assert verdict.status == "failed"
    assert "in raw seconds, as no yardstick was timed with it" in verdict.reason


def test_stored_runs_without_a_yardstick_are_compared_in_raw_seconds():
    stored = baseline(1.0, 1.0, 1.0, yardsticks=[None, 0.03, 0.03])
    verdict = latency(1.2, stored, yardstick_seconds=0.09)
    assert verdict.status == "failed"
    assert "in raw seconds, as 1 of 3 stored runs have no yardstick" in verdict.reason


def test_a_slowdown_of_torch_itself_is_not_taken_for_the_machines():
    stored = baseline(1.0, yardsticks=[0.03])
    now = {**TORCH, "torch": "2.13.0"}
    verdict = latency(1.2, stored, yardstick_seconds=0.036, versions=now)
    assert verdict.status == "failed"
    assert (
        "in raw seconds, as the yardstick itself depends on what changed (torch 2.12.0 -> 2.13.0)"
    ) in verdict.reason


def test_every_change_of_a_version_is_named_and_compared():
    stored = baseline(1.0, yardsticks=[0.03])
    now = {**TORCH, "diffusers": "0.31", "driver": "550"}
    verdict = latency(9.0, stored, versions=now)
    assert verdict.status == "failed"
    assert verdict.reason.endswith("; since then diffusers 0.30 -> 0.31, driver none -> 550")
    assert "since then" not in latency(9.0, stored, versions=TORCH).reason


def test_what_disturbed_the_measurement_is_said_where_something_was_compared():
    marks = ("throttled by HW slowdown", "load average 3.1 on 2 cores before the case")
    said = f"; measured while {marks[0]} and {marks[1]}"
    for verdict in (latency(1.0, marks=marks), latency(9.0, marks=marks)):
        assert verdict.reason.endswith(said)
    assert "measured while" not in latency(1.0, None, marks=marks).reason
    assert "measured while" not in latency(1.0).reason


@pytest.mark.parametrize("seconds", [NAN, math.inf, 0.0, -1.0])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_round_that_is_no_time_never_passes(seconds, place):
    rounds = [0.9, 1.0, 1.01]
    rounds[place] = seconds
    verdict = latency_verdict(LatencyMeasurement(rounds, PRINT), STORED, 0.1)
    assert verdict.status == "failed"
    assert f"round {place + 1} of 3 took {seconds} s, which is no latency" in verdict.reason


@pytest.mark.parametrize("seconds", [0.5, 9.0])
def test_rounds_that_are_all_the_same_decide_nothing(seconds):
    verdict = latency_verdict(LatencyMeasurement([seconds] * 3, PRINT), STORED, 0.1)
    assert verdict.status == "inconclusive"
    assert f"all 3 rounds took exactly {seconds} s" in verdict.reason


def test_two_rounds_may_agree_by_chance():
    assert latency_verdict(LatencyMeasurement([1.0, 1.0]), STORED, 0.1).status == "passed"


def test_no_round_decides_nothing():
    assert latency_verdict(LatencyMeasurement([]), STORED, 0.1).status == "inconclusive"


@pytest.mark.parametrize("tolerance", [NAN, math.inf, -0.1])
def test_a_tolerance_that_is_none_never_passes(tolerance):
    assert latency(1.0, tolerance=tolerance).status == "failed"


def test_a_missing_baseline_is_said_and_not_failed():
    verdict = latency(1.0, None)
    assert verdict.status == "inconclusive"
    assert "no baseline is stored" in verdict.reason


def test_another_devices_baseline_is_never_compared():
    verdict = latency(9.0, fingerprint={**PRINT, "device": "gpu"})
    assert verdict.status == "inconclusive"
    assert "device: gpu here, cpu stored" in verdict.reason


@pytest.mark.parametrize("past", [[1.0, 2.0], [1.0, 2.0, 4.0], list(range(30))])
def test_a_prediction_bound_is_the_textbooks(past):
    n = len(past)
    error = scipy.stats.tstd(past) * math.sqrt(1 + 1 / n)
    expected = scipy.stats.t.ppf(0.95, n - 1, loc=sum(past) / n, scale=error)
    assert prediction_bound(past, confidence=0.95) == pytest.approx(expected, rel=1e-9)


def test_one_more_run_stays_under_the_prediction_bound_in_99_of_100_cases():
    chance = random.Random(0)
    trials, kept = 20_000, 0
    for _ in range(trials):
        *past, new = (chance.gauss(-0.1, 0.02) for _ in range(11))
        kept += new <= prediction_bound(past)
    assert abs(kept / trials - 0.99) < 4 * math.sqrt(0.99 * 0.01 / trials)


@pytest.mark.parametrize("past", [[], [1.0], [1.0, NAN], [1.0, math.inf]])
def test_no_bound_is_predicted_from_what_is_no_history(past):
    with pytest.raises(ValueError, match="past value"):
        prediction_bound(past)


@pytest.mark.parametrize("confidence", [0.4, 1.0, NAN])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(ValueError, match="a confidence of"):
        prediction_bound([1.0, 2.0], confidence=confidence)


def test_on_an_a100_the_published_latency_and_speedup_bind():
    assert latency(3.5, None, speedup=1.5, **A100).status == "passed"
    slow = latency(4.0, None, speedup=1.5, **A100)
    assert slow.status == "failed" and "published 3.51 s" in slow.reason
    flat = latency(3.5, None, speedup=1.0, **A100)
    assert flat.status == "failed" and "speed-up 1 against the published 1.5" in flat.reason
    assert "published 3.51 s" not in flat.reason


def test_a_nan_speedup_never_passes():
    assert latency(3.5, None, speedup=NAN, **A100).status == "failed"


@pytest.mark.parametrize("other", [{"device_name": "NVIDIA H200"}, {"model": "miniature"}])
def test_published_figures_never_bind_another_device_or_model(other):
    assert latency(99.0, None, speedup=0.1, **{**A100, **other}).status == ("inconclusive")


def test_a_kept_stored_baseline_does_not_hide_a_broken_published_one():
    verdict = latency(4.0, None, speedup=1.5, **A100)
    assert verdict.status == "failed"
    assert latency(4.0, baseline(4.0), speedup=1.5, **A100).status == "failed"


def test_memory_beyond_the_tolerance_fails():
    assert memory_verdict(104 * 2**20, STORED, 0.05).status == "passed"
    verdict = memory_verdict(106 * 2**20, STORED, 0.05)
    assert verdict.status == "failed" and "106 MiB against 100 MiB" in verdict.reason


def test_memory_is_held_against_the_largest_of_the_stored_runs():
    stored = baseline(1.0, 1.0, 1.0, peaks=[90 * 2**20, 100 * 2**20, None])
    assert memory_verdict(104 * 2**20, stored, 0.05).status == "passed"
    verdict = memory_verdict(106 * 2**20, stored, 0.05)
    assert verdict.status == "failed"
    assert "100 MiB stored, the largest of 2 runs, 2025-01-02 (5% more allowed)" in verdict.reason


def test_memory_names_what_changed_and_what_is_of_something_else():
    now = {**TORCH, "torch": "2.13.0"}
    verdict = memory_verdict(1, STORED, 0.05, fingerprint=PRINT, versions=now)
    assert verdict.reason.endswith("; since then torch 2.12.0 -> 2.13.0")
    other = memory_verdict(1, STORED, 0.05, fingerprint={**PRINT, "model": "sd15"})
    assert other.status == "inconclusive" and "model: sd15 here" in other.reason


def test_memory_that_is_unknown_never_passes():
    assert memory_verdict(None, STORED, 0.05).status == "inconclusive"
    assert memory_verdict(1, None, 0.05).status == "inconclusive"
    assert memory_verdict(1, baseline(1.0), 0.05).status == "inconclusive"
    assert memory_verdict(1, STORED, NAN).status == "failed"
    for peak in (0, -1, NAN, math.inf):
        assert memory_verdict(peak, STORED, 0.05).status == "failed"


def test_ssim_below_the_floor_fails_with_the_numbers():
    assert ssim_verdict([0.99, 0.98, 0.99, 0.99], FLOOR).status == "inconclusive"
    assert ssim_verdict([0.99, 0.989, 0.99, 0.99], FLOOR).status == "passed"
    verdict = ssim_verdict([0.99, 0.95], FLOOR)
    assert (verdict.gate, verdict.status) == ("SSIM", "failed")
    assert verdict.reason.startswith("SSIM 0.9700 to the reference over 2 images (at least ")
    assert verdict.reason.endswith("least 0.9500, prompt 2), below the floor of 0.98")


def test_an_ssim_whose_bound_is_below_the_floor_asks_for_more_images():
    verdict = ssim_verdict([0.99, 0.98, 0.99, 0.98], FLOOR)
    assert verdict.status == "inconclusive"
    assert "SSIM 0.9850 to the reference over 4 images (at least 0.9719 with 99 %" in verdict.reason
    assert verdict.reason.endswith("against a floor of 0.98; more images decide (--images)")


def test_ssim_on_the_floor_itself_passes():
    assert ssim_verdict([0.98] * 4, FLOOR).status == "passed"


def test_one_prompt_has_no_interval_for_ssim_and_clip():
    for verdict in (ssim_verdict([0.99], FLOOR), clip_verdict([90.0], [80.0], DROP)):
        assert verdict.status == "inconclusive"
        assert verdict.reason.endswith("one prompt, so no interval")
    assert ssim_verdict([0.97], FLOOR).status == "failed"
    assert clip_verdict([70.0], [80.0], DROP).status == "failed"


@pytest.mark.parametrize("values", [[NAN], [1.0, NAN], [1.0, math.inf]])
def test_a_non_finite_ssim_never_passes(values):
    verdict = ssim_verdict(values, FLOOR)
    assert verdict.status == "failed" and "not a number for 1" in verdict.reason


def test_a_nan_tolerance_never_passes():
    nan = SimpleNamespace(value=NAN, reason="")
    assert ssim_verdict([1.0, 1.0], nan).status == "failed"
    assert clip_verdict([90.0, 90.0], [80.0, 80.0], nan).status == "failed"


def test_clip_drop_is_paired_and_fails_beyond_the_tolerance():
    assert clip_verdict([80.0, 29.0], [81.0, 30.0], DROP).status == "passed"
    verdict = clip_verdict([80.0, 20.0], [81.0, 30.0], DROP)
    assert (verdict.gate, verdict.status) == ("CLIP", "failed")
    assert "a paired drop of 5.50" in verdict.reason
    assert "greatest 10.00, prompt 2), more than the allowed 1.11" in verdict.reason


def test_a_clip_drop_whose_bound_is_beyond_the_tolerance_asks_for_more_images():
    verdict = clip_verdict([79.0, 82.0, 78.0, 81.0], [80.0] * 4, DROP)
    assert verdict.status == "inconclusive"
    assert verdict.reason.endswith("more images decide (--images)")


def test_a_clip_score_above_the_references_passes():
    assert clip_verdict([90.0, 91.0], [80.0, 81.0], DROP).status == "passed"


def test_a_nan_clip_never_passes():
    assert clip_verdict([NAN, 90.0], [80.0, 80.0], DROP).status == "failed"
    assert clip_verdict([90.0], [NAN], DROP).status == "inconclusive"
    assert clip_verdict([NAN], [NAN], DROP).status == "failed"


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
    assert clip_verdict([87.0, 87.0], [88.0, 88.0], DROP).status == "passed"
    assert clip_verdict([26.0, 26.0], [27.0, 27.0], DROP).status == "failed"


def test_a_published_figure_of_another_setup_does_not_bind_and_says_why():
    row = published("sd15", "precision", "baseline")
    verdict = latency(9.0, None, speedup=1.0, **{**A100, "published": row})
    assert verdict.status == "inconclusive"
    assert "tf32 on for its convolutions" in verdict.reason
