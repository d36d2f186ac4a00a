"""Non-inferiority: passed, failed and in between, and what is no number never passes."""

import math

import numpy as np
import pytest
from scipy import stats

from latentcy.stats.noninferiority import combine, judge_each, judge_mean, non_inferior, paired

NAN = math.nan


@pytest.mark.parametrize("n", [2, 4, 16, 128])
def test_the_bounds_are_the_textbooks(n):
    values = np.random.default_rng(n).normal(-0.1, 1.0, n)
    seen = paired(values)
    low, high = stats.t.interval(0.98, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (seen.low, seen.high) == (pytest.approx(low), pytest.approx(high))
    assert (seen.n, seen.n_nan) == (n, 0)


@pytest.mark.parametrize("n", [4, 16, 128])
def test_a_loss_as_large_as_the_tolerance_passes_once_in_a_hundred(n):
    chance = np.random.default_rng(n)
    trials = 4000
    passed = sum(
        non_inferior(chance.normal(-1.0, 1.0, n), 1.0, "higher").status == "passed"
        for _ in range(trials)
    )
    assert abs(passed / trials - 0.01) < 4 * math.sqrt(0.01 * 0.99 / trials)


@pytest.mark.parametrize(
    ("better", "values", "status"),
    [
        ("higher", [-0.1, -0.1, -0.12], "passed"),
        ("higher", [5.0, 6.0, 7.0], "passed"),
        ("higher", [-1.1, -1.0, -1.2], "failed"),
        ("higher", [-0.9, -1.0, -0.8], "inconclusive"),
        ("lower", [0.1, 0.1, 0.12], "passed"),
        ("lower", [-5.0, -6.0, -7.0], "passed"),
        ("lower", [1.1, 1.0, 1.2], "failed"),
        ("same", [0.1, -0.1, 0.0], "passed"),
        ("same", [1.1, 1.0, 1.2], "failed"),
        ("same", [-1.1, -1.0, -1.2], "failed"),
        ("same", [0.9, 1.0, 0.8], "inconclusive"),
    ],
)
def test_a_loss_is_told_from_a_gain(better, values, status):
    assert non_inferior(values, 1.0, better).status == status


def test_in_between_more_images_decide():
    decision = non_inferior([-0.9, -1.0, -0.8], 1.0, "higher")
    assert decision.why == "more images decide (--images)"


@pytest.mark.parametrize("values", [[NAN] * 4, [0.0, NAN, 0.0], [0.0, math.inf], [NAN]])
@pytest.mark.parametrize("better", ["higher", "lower", "same"])
def test_what_is_no_number_fails(values, better):
    decision = non_inferior(values, 1.0, better)
    assert decision.status == "failed" and "not a number for" in decision.why


@pytest.mark.parametrize("tolerance", [NAN, math.inf, -0.1])
def test_a_tolerance_that_is_none_allows_nothing(tolerance):
    assert non_inferior([0.0, 0.0], tolerance, "higher").status == "failed"


def test_one_prompt_has_no_interval_and_fails_only_beyond_the_tolerance():
    within = non_inferior([-0.5], 1.0, "higher")
    assert (within.status, within.why) == ("inconclusive", "one prompt, so no interval")
    assert non_inferior([-1.5], 1.0, "higher").status == "failed"


def test_differences_that_are_all_equal_have_an_interval_of_width_zero():
    seen = paired([0.1] * 7)
    assert seen.low == seen.mean == seen.high == 0.1
    assert non_inferior([-1.0] * 4, 1.0, "higher").status == "passed"


def test_nothing_compared_is_no_pass():
    assert non_inferior([], 1.0, "higher").status == "inconclusive"
    with pytest.raises(ValueError, match="no differences"):
        paired([])


def test_a_mean_beyond_its_limit_names_the_prompts_that_lost_most():
    values = np.array([-0.02, -0.09, -0.05, -0.01, -0.07])
    part = judge_mean("brightness", values, 0.01)
    assert part.status == "failed" and part.used == pytest.approx(4.8)
    assert part.words.startswith("brightness -0.0480 on average over 5 images")
    assert "0.01 either way allowed" in part.words
    assert part.words.endswith("most in prompts 2 (-0.0900), 5 (-0.0700), 3 (-0.0500)")


def test_a_single_image_beyond_its_limit_is_named_with_its_place():
    values = np.array([0.99, 0.98, 0.31])
    part = judge_each("local SSIM", values, 0.2, where=["here", "there", "row 3"])
    assert part.status == "failed"
    assert part.words == (
        "local SSIM 0.3100 in row 3 in the image of prompt 3, at least 0.8 asked for in any one "
        "image"
    )
    assert judge_each("local SSIM", values[:2], 0.2).status == "passed"


@pytest.mark.parametrize("judge", [judge_mean, judge_each])
def test_a_part_that_is_no_number_fails(judge):
    part = judge("sharpness", np.array([0.0, NAN]), 0.1)
    assert part.status == "failed"
    assert part.words == "sharpness is not a number for 1 of 2 images"


def test_the_worst_part_decides_and_the_furthest_is_named_first():
    good = judge_mean("red", np.array([0.001, 0.002, 0.001]), 0.01)
    near = judge_mean("green", np.array([0.004, 0.004, 0.004]), 0.01)
    bad = judge_mean("blue", np.array([0.02, 0.02, 0.02]), 0.01)
    assert combine([good, bad, near]) == ("failed", bad.words)
    status, reason = combine([good, near])
    assert status == "passed" and reason.startswith("all 2 limits are kept; nearest:")
    assert "green +0.0040" in reason
    assert combine([])[0] == "inconclusive"
