"""Looks: pairs until it is known, with an error that stays where one look would have it."""

from __future__ import annotations

import numpy as np
import pytest

from latentcy.gates.speed import CONFIDENCE, compare, is_decided, speed_verdicts
from latentcy.stats.looks import Looks, corrected, look_confidence, looks_for
from latentcy.studies.speed_gate.simulation import DESIGNS, NOISES, Noise, simulate

UNTIL_KNOWN, FIXED = DESIGNS["until it is known"], DESIGNS["20 pairs"]
QUIET, USUAL, NOISY = NOISES


def test_a_case_alone_is_looked_at_after_10_20_40_and_80_pairs():
    assert looks_for(1, 0.99) == Looks((10, 20, 40, 80), 1)
    assert looks_for(1, 0.99).increments == (10, 10, 20, 40)


@pytest.mark.parametrize("cases", [1, 2, 3, 7, 20, 200])
def test_every_look_can_decide_whatever_the_number_of_cases(cases):
    looks = looks_for(cases, CONFIDENCE)
    assert looks.most <= 80 and looks.count >= 2
    assert 2.0 ** -looks.pairs[0] * looks.count * cases <= 1 - CONFIDENCE


def test_the_error_is_shared_among_the_looks():
    assert look_confidence(0.99, 1) == pytest.approx(0.99)
    assert look_confidence(0.99, 4) == pytest.approx(0.9975)
    assert corrected(0.001, 4) == pytest.approx(0.004)
    assert corrected(0.5, 4) == 1.0
    with pytest.raises(ValueError, match="0 looks"):
        look_confidence(0.99, 0)


def test_a_fixed_number_of_pairs_is_one_look_at_the_whole_error():
    assert Looks((20,)).count == 1 and Looks((20,)).increments == (20,)
    assert Looks((20,)).due(20) and not Looks((20,)).due(10)


def test_what_is_decided_stays_so_among_the_other_cases():
    """Holm rejects whatever each case alone is stopped at, whatever the others show."""
    chance = np.random.default_rng(0)
    cases = 5
    looks = looks_for(cases, CONFIDENCE)
    while True:
        ratios = np.exp(chance.normal(0.05, 0.006, looks.pairs[0]))
        one = compare([1.0 + 1e-9 * i for i in range(len(ratios))], ratios, 0.01, looks=looks.count)
        if is_decided(one, cases):
            break
    others = {
        str(each): compare(
            [1.0 + 1e-9 * i for i in range(80)],
            np.exp(chance.normal(0.01, 0.05, 80)),
            0.01,
            looks=4,
        )
        for each in range(cases - 1)
    }
    assert speed_verdicts({"decided": one, **others})["decided"].status == "failed"


@pytest.mark.parametrize("noise", [QUIET, NOISY], ids=["quiet", "noisy"])
def test_at_the_very_tolerance_each_wrong_answer_stays_below_one_percent(noise):
    """1 % added and 1 % allowed: either answer is wrong, and each may come in 1 % of trials."""
    seen = simulate(UNTIL_KNOWN, noise, added=0.01, trials=600, seed=5)
    assert seen.slower <= 0.02  # 6 of 600 are expected at most; 12 have a chance of 1 in 60
    assert seen.not_slower <= 0.02


def test_a_rule_without_correction_would_err_more_often():
    """That the test above can fail: the same looks, each at the whole error."""
    naive = UNTIL_KNOWN.without_correction()
    seen = simulate(naive, QUIET, added=0.01, trials=600, seed=5)
    assert seen.slower + seen.not_slower > 0.03


def test_slowdowns_are_found_and_healthy_cases_are_known_in_few_pairs():
    healthy, three, five = (
        simulate(UNTIL_KNOWN, QUIET, added=a, trials=300) for a in (0, 3e-2, 5e-2)
    )
    assert healthy.slower == 0 and healthy.open <= 0.03 and healthy.mean_pairs <= 20
    assert three.slower >= 0.99 and five.slower >= 0.995


def test_a_noisy_machine_gets_more_pairs_and_more_is_known():
    fixed, looked = (simulate(one, USUAL, added=0.0, trials=200) for one in (FIXED, UNTIL_KNOWN))
    assert looked.open < 0.05 < fixed.open
    assert looked.mean_pairs > 25


def test_noise_without_spells_is_normal():
    values = Noise(0.01, 0.0).log_ratios(4000, 0.0, np.random.default_rng(0))
    assert values.std() == pytest.approx(0.01, rel=0.05) and abs(values.mean()) < 0.001
