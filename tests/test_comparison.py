"""The speed gate: slower, not slower or not known, and never "significant" out of nonsense."""

import math
import time

import numpy as np
import pytest

from latentcy.core.comparison import Comparison
from latentcy.core.pairs import order
from latentcy.gates.speed import compare, false_alarms, self_check_verdict, speed_verdicts
from latentcy.measure.pairing import Pairing, time_pairs
from latentcy.suite.pair_budget import Budget, plan_pairs


def pairs(slowdown, count=20, noise=0.005, seed=0):
    """Reference and candidate seconds on a machine that drifts by 30 % meanwhile."""
    draws = np.random.default_rng(seed)
    machine = np.linspace(1.0, 1.3, count)
    reference = machine * np.exp(draws.normal(0, noise, count))
    return reference, machine * (1 + slowdown) * np.exp(draws.normal(0, noise, count))


def verdict(slowdown, **how):
    return speed_verdicts({"one": compare(*pairs(slowdown, **how), 0.01)})["one"]


def test_a_slowdown_beyond_the_tolerance_fails_and_says_by_how_much():
    said = verdict(0.05)
    assert (said.gate, said.status) == ("speed", "failed")
    one = compare(*pairs(0.05), 0.01)
    assert one.low < 1.05 < one.high
    assert f"{100 * (one.ratio - 1):.2f} % slower (" in said.reason
    assert "1 % slower allowed; 20 pairs" in said.reason


def test_a_case_as_fast_as_its_reference_passes():
    assert verdict(0.0).status == "passed"


def test_a_faster_case_passes_and_is_called_faster():
    said = verdict(-0.3)
    assert said.status == "passed"
    assert "% faster (" in said.reason
    assert "slower (" not in said.reason


def test_noise_that_hides_the_tolerance_is_inconclusive_and_not_passed():
    said = verdict(0.0, noise=0.2)
    assert said.status == "inconclusive"
    assert "more pairs would tell" in said.reason


def test_a_slowdown_at_the_tolerance_is_hardly_ever_called_slower():
    trials = [compare(*pairs(0.01, seed=seed), 0.01) for seed in range(500)]
    alarms, able = false_alarms(trials)
    assert able == 500
    assert alarms <= 12  # 5 expected; 13 or more in 0.2 % of such series


def test_seven_pairs_decide_a_case_and_six_do_not():
    assert verdict(0.1, count=7).status == "failed"
    said = verdict(0.1, count=6)
    assert said.status == "inconclusive"
    assert "6 pairs are too few, 7 are the least" in said.reason


def test_among_many_cases_seven_pairs_do_not_decide_and_the_reason_says_how_many_do():
    many = {str(seed): compare(*pairs(0.1, count=7, seed=seed), 0.01) for seed in range(4)}
    said = speed_verdicts(many)["0"]
    assert said.status == "inconclusive"
    assert "among 4 cases at least 9 pairs are needed" in said.reason


def test_a_case_that_cannot_be_judged_costs_the_others_nothing():
    broken = compare([math.nan] * 20, [1.0] * 20, 0.01)
    both = speed_verdicts({"slow": compare(*pairs(0.1, count=7), 0.01), "broken": broken})
    assert both["slow"].status == "failed"
    assert both["broken"].status == "inconclusive"


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_times_that_are_none_decide_nothing(bad, side):
    both = [list(each) for each in pairs(0.1)]
    both[side][3] = bad
    one = compare(*both, 0.01)
    assert "zero, negative or not a number" in one.nothing
    assert speed_verdicts({"one": one})["one"].status == "inconclusive"


@pytest.mark.parametrize("side", [0, 1])
def test_a_clock_that_stands_still_decides_nothing(side):
    both = list(pairs(0.1))
    both[side] = np.full(20, 1.0)
    one = compare(*both, 0.01)
    assert "the clock gave the same time 20 times" in one.nothing
    assert (one.p_slower, one.p_not_slower) == (1.0, 1.0)


@pytest.mark.parametrize("tolerance", [math.nan, math.inf, -0.1])
def test_a_tolerance_that_is_none_decides_nothing(tolerance):
    assert "allows nothing" in compare(*pairs(0.1), tolerance).nothing


def test_the_self_check_passes_without_and_fails_with_more_false_alarms_than_promised():
    quiet = [compare(*pairs(0.0, seed=seed), 0.01) for seed in range(5)]
    slow = [compare(*pairs(0.1, seed=seed), 0.01) for seed in range(2)]
    assert self_check_verdict(quiet).status == "passed"
    assert "0 false alarms in 5 trials (0.0% to 52.2%)" in self_check_verdict(quiet).reason
    assert self_check_verdict([*quiet, *slow]).status == "failed"
    assert self_check_verdict([*quiet, slow[0]]).status == "inconclusive"
    assert self_check_verdict([Comparison(2, 0.01, nothing="too few")]).status == "inconclusive"


def test_the_order_is_balanced_shuffled_and_repeatable():
    first = order(20, seed=1)
    assert sum(first) == 10
    assert first == order(20, seed=1)
    assert len({order(20, seed) for seed in range(10)}) == 10
    assert {sum(order(7, seed)) for seed in range(20)} == {3, 4}


def test_pairs_keep_their_partners_in_whatever_order_they_ran():
    clock = iter(range(1, 1000))
    ran = []

    def run(name):
        ran.append(name)
        return float(next(clock))

    timed = time_pairs(lambda: run("r"), lambda: run("c"), increments=(20,), seed=3)
    assert [abs(a - b) for a, b in zip(timed.reference, timed.candidate, strict=True)] == [1] * 20
    assert timed.reference_first == tuple(
        a < b for a, b in zip(timed.reference, timed.candidate, strict=True)
    )
    assert ran.count("r") == ran.count("c") == 20
    assert timed.seed == 3


def test_a_round_cut_off_is_left_out():
    pairing = Pairing(lambda: 1.0, increments=(4,), seed=0)
    for _ in range(2):
        pairing.before()
        pairing.after()
    pairing.before()
    assert len(pairing.pairs([1.0, 1.0])) == 2


def timed(pairing):
    """The pairs of a candidate that takes two seconds each time, until no round is due."""
    seconds = []
    while not pairing.is_over(seconds):
        pairing.before()
        seconds.append(2.0)
        pairing.after()
    return pairing.pairs(seconds)


def test_trials_and_their_increments_are_balanced_each_in_itself():
    pairing = Pairing(lambda: 1.0, increments=(6, 4), seed=0, trials=3)
    parts = timed(pairing).split([6, 4] * 3)
    assert pairing.rounds == 30 and pairing.sizes == (10, 10, 10)
    assert [sum(part.reference_first) for part in parts] == [3, 2] * 3
    assert len({part.reference_first for part in parts[::2]}) > 1


def test_a_trial_ends_once_it_is_known_and_the_next_begins():
    asked = []
    pairing = Pairing(
        lambda: 1.0,
        increments=(10, 10, 20),
        seed=0,
        trials=2,
        is_known=lambda pairs: asked.append(len(pairs)) or len(asked) == 2,
    )
    whole = timed(pairing)
    assert asked == [10, 20, 10, 20]  # the last look is not asked: it ends the trial anyway
    assert pairing.sizes == (20, 40) and len(whole) == 60
    assert [sum(one.reference_first) for one in whole.split([10, 10, 10])] == [5, 5, 5]


def test_nothing_is_timed_that_no_pair_needs():
    runs = []
    pairing = Pairing(
        lambda: runs.append("r") or 1.0, increments=(10, 70), seed=0, is_known=lambda pairs: True
    )
    assert len(timed(pairing)) == len(runs) == 10


PILOT = tuple(np.random.default_rng(0).normal(0, 0.02, 7))


def plan(**changed):
    asked = {"asked": 20, "precision": 0.0, "pilot": (), "pair_seconds": 2.0}
    return plan_pairs(**(asked | {"allowed_seconds": None} | changed))


def test_without_a_precision_the_pairs_asked_for_are_timed():
    assert plan() == plan(allowed_seconds=100.0)
    assert (plan().pairs, plan().note) == (20, "")


def test_a_precision_sets_the_number_of_pairs_by_the_pilots_noise():
    coarse, fine = (plan(precision=each, pilot=PILOT, most=10**6) for each in (0.02, 0.005))
    assert 7 <= coarse.pairs < fine.pairs
    assert plan(precision=0.0001, pilot=PILOT).pairs == 200
    assert "200 are the most without --budget" in plan(precision=0.0001, pilot=PILOT).note


def test_a_budget_ends_the_pairs_and_says_so():
    short = plan(allowed_seconds=20.0)
    assert short.pairs == 10
    assert short.note == "the budget allowed 10 of 20 pairs (--budget)"


def test_a_budget_that_allows_no_decision_says_so():
    none = plan(allowed_seconds=3.0)
    assert none.pairs == 1
    assert "the budget leaves 3 s for 1 of 20 pairs of 2 s, 7 are the least" in none.note


def test_a_budget_is_shared_among_the_cases_that_are_left():
    budget = Budget(100.0, "abcd")
    assert budget.share("a") == 25.0
    budget.spend("a", 10.0)
    assert budget.share("a") == 15.0
    assert budget.share("b") == 30.0
    assert Budget(0.0, "abcd").share("a") is None


def test_what_loading_and_a_pilot_took_is_off_the_share_at_once():
    budget = Budget(100.0, "ab")
    with budget.spending("a"):
        time.sleep(0.01)
        assert budget.share("a") < 50.0
    assert budget.share("b") < 100.0


def test_a_pilots_pairs_suffice_for_the_cases_judged_together():
    quiet = tuple(1e-6 * np.arange(7))
    assert plan(precision=0.01, pilot=quiet).pairs == 7
    assert plan(precision=0.01, pilot=quiet, cases=7).pairs == 10
    assert "10 are the least" in plan(allowed_seconds=18.0, cases=7).note
