"""The statistics agree with scipy, and with worked examples from textbooks."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from latentcy.stats.paired_tests import (
    hodges_lehmann,
    holm,
    interval,
    least_pairs,
    log_ratios,
    pairs_needed,
    proportion,
    signed_rank_p,
)

# Hollander & Wolfe, Nonparametric Statistical Methods, table 3.1: Hamilton depression scale factor
# before and after a tranquilizer; also the example of R's wilcox.test.
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
CHANGE = np.subtract(AFTER, BEFORE)


def sample(pairs, seed=0):
    return np.random.default_rng(seed).standard_t(3, pairs) * 0.02 + 0.01


def test_the_textbooks_p_value():
    assert signed_rank_p(CHANGE, 0.0, "less") == pytest.approx(0.01953, abs=5e-6)


def test_the_textbooks_estimate_and_interval():
    assert hodges_lehmann(CHANGE) == pytest.approx(-0.46)
    low, high = interval(CHANGE, 0.98)
    assert (low, high) == (pytest.approx(-0.786), pytest.approx(-0.010))


@pytest.mark.parametrize("pairs", [7, 12, 20, 45])
@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_p_values_are_scipys_exact_ones(pairs, alternative):
    values = sample(pairs)
    expected = scipy_stats.wilcoxon(values - 0.005, alternative=alternative, method="exact").pvalue
    assert signed_rank_p(values, 0.005, alternative) == pytest.approx(expected, rel=1e-9)


def test_ties_are_ranked_exactly_as_by_counting_every_sign():
    values = np.array([1, 1, 2, -2, 3, 3, -1, 4, 0.0])
    ranks = scipy_stats.rankdata(np.abs(values[values != 0]))
    seen = ranks[values[values != 0] > 0].sum()
    signs = (np.arange(2**8)[:, None] >> np.arange(8)) & 1
    assert signed_rank_p(values, 0.0, "greater") == np.mean(signs @ ranks >= seen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pairs", [7, 8, 20])
def test_the_interval_ends_where_the_test_begins_to_reject(pairs, seed):
    values = sample(pairs, seed)
    low, high = interval(values, 0.99)
    assert signed_rank_p(values, low - 1e-9, "greater") <= 0.01
    assert signed_rank_p(values, low + 1e-9, "greater") > 0.01
    assert signed_rank_p(values, high + 1e-9, "less") <= 0.01
    assert signed_rank_p(values, high - 1e-9, "less") > 0.01


def test_each_bound_holds_as_often_as_it_says():
    draws = np.random.default_rng(1)
    bounds = [interval(draws.laplace(0, 0.02, 20), 0.99) for _ in range(2000)]
    beyond = sum(low > 0 for low, _ in bounds), sum(high < 0 for _, high in bounds)
    assert max(proportion(each, 2000)[0] for each in beyond) <= 0.01


def test_six_values_bound_nothing_with_99_percent():
    assert interval(sample(6), 0.99) == (-math.inf, math.inf)
    assert all(math.isfinite(each) for each in interval(sample(7), 0.99))


def test_a_far_outlier_hardly_moves_the_estimate():
    values = np.full(20, 0.03) + np.linspace(-1e-3, 1e-3, 20)
    values[3] = 2.0
    assert hodges_lehmann(values) == pytest.approx(0.03, abs=2e-3)


def test_holm_by_hand():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({}) == {}


def test_seven_pairs_are_the_least_for_one_case_and_more_for_several():
    assert least_pairs(0.99) == 7
    assert 2**-7 <= 0.01 < 2**-6
    for cases in (2, 7, 30):
        least = least_pairs(0.99, cases)
        assert cases * 2.0**-least <= 0.01 < cases * 2.0 ** -(least - 1)


def test_the_pilots_number_of_pairs_gives_the_precision_asked_for():
    draws = np.random.default_rng(2)
    within = 0
    for _ in range(200):
        pairs = pairs_needed(draws.normal(0, 0.02, 7), 0.01, 0.99)
        low, high = interval(draws.normal(0, 0.02, pairs), 0.99)
        within += (high - low) / 2 <= 0.01
    assert within >= 160


def test_rates_have_the_exact_interval():
    low, high = proportion(0, 10)
    assert (low, high) == (0.0, pytest.approx(0.3085, abs=1e-4))  # 1 - 0.025 ** (1 / 10)
    assert proportion(2, 200)[1] > 0.01


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_times_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="not a number"):
        log_ratios([1.0, bad], [1.0, 1.0])
    with pytest.raises(ValueError, match="1 reference times for 2"):
        log_ratios([1.0], [1.0, 1.0])
