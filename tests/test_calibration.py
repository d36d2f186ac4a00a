"""Calibration: real added work is found, files go on where they stopped, rules do as they say."""

import numpy as np
import pytest

from latentcy.core.errors import LatentcyError
from latentcy.studies.speed_gate.__main__ import main, report
from latentcy.studies.speed_gate.rules import mean_rule, ours, rates, t_test
from latentcy.studies.speed_gate.trials import Trial, read_trials
from tiny import build_tiny
from whole_run import ROOT

pytestmark = pytest.mark.system


def trial(slowdown, seed=0, noise=0.01):
    draws = np.random.default_rng(seed)
    reference = 0.1 * np.exp(draws.normal(0, noise, 20))
    candidate = 0.1 * (1 + slowdown) * np.exp(draws.normal(0, noise, 20))
    return Trial(round(slowdown, 2), seed, tuple(reference), tuple(candidate))


@pytest.fixture
def tiny(tmp_path):
    return build_tiny(tmp_path / "tiny")


def test_each_rule_says_slower_by_its_own_measure():
    fast, slow = trial(0.0), trial(0.04)
    for rule in (ours(0.01), mean_rule(0.03), t_test):
        assert not rule(fast.reference, fast.candidate)
        assert rule(slow.reference, slow.candidate)
    assert not mean_rule(0.05)(slow.reference, slow.candidate)
    assert not t_test(slow.candidate, slow.reference)  # faster is not slower


def test_the_t_test_is_pyperfs():
    perf = pytest.importorskip("pyperf._utils", reason="pyperf is not installed")
    for seed in range(40):
        one = trial(0.01, seed, noise=0.02)
        significant, _ = perf.is_significant(one.reference, one.candidate)
        larger = np.mean(one.candidate) > np.mean(one.reference)
        assert t_test(one.reference, one.candidate) == (significant and larger)


def test_rates_count_each_share_of_added_work_apart():
    trials = [trial(0.0, seed) for seed in range(5)] + [trial(0.05, seed) for seed in range(5)]
    found = {(one.rule, one.added): one for one in rates(trials, 0.01)}
    assert found["pairs, 1% allowed", 0.0].hits == 0
    assert found["pairs, 1% allowed", 0.05].hits == 5
    assert found["mean:3%, earlier run", 0.0].trials == 4  # the first has none before it


def test_one_trial_is_reported_and_not_a_crash():
    assert "0 of 1: 0.0% (0.0% to 97.5%)" in report([trial(0.0)], 0.01)


def begun_on_a_quiet_moment(arguments):
    """Whether one of five calls could tell the added work's time from the machine's noise."""
    return any(main(arguments) == 0 for _ in range(5))


def test_real_work_is_added_timed_and_appended_trial_by_trial(tiny, tmp_path, capsys):
    file = tmp_path / "trials.jsonl"
    quick = [str(file), f"--model={tiny}", "--pairs=4", "--steps=2", "--device=cpu"]
    assert begun_on_a_quiet_moment([*quick, "--trials=1"])
    begun = read_trials(file)
    assert sorted(one.added for one in begun.trials) == [0.0, 0.03, 0.05]
    assert 0 < begun.plan.units["0.03"] < begun.plan.units["0.05"]
    file.write_text(file.read_text()[:-20])  # as an interrupted call leaves it
    assert main([*quick, "--trials=2"]) == 0
    assert len(read_trials(file).trials) == 6
    assert read_trials(file).trials[:2] == begun.trials[:2]
    assert "rule that says slower" in capsys.readouterr().out


def test_a_file_begun_otherwise_is_not_gone_on_with(tiny, tmp_path, capsys):
    file = tmp_path / "trials.jsonl"
    quick = [str(file), f"--model={tiny}", "--trials=1", "--steps=2", "--device=cpu"]
    assert begun_on_a_quiet_moment([*quick, "--pairs=3"])
    assert main([*quick, "--pairs=4"]) == 2
    assert "begun with pairs 3" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "no json\n", '{"model": "x"}\n'])
def test_what_holds_no_trials_is_refused(tmp_path, text):
    file = tmp_path / "trials.jsonl"
    file.write_text(text)
    with pytest.raises(LatentcyError, match="holds no trials"):
        read_trials(file)


@pytest.mark.parametrize("name", ["calibration", "calibration-busy"])
def test_the_documents_table_is_what_its_file_gives(name):
    document = (ROOT / "docs" / "method.md").read_text()
    measured = read_trials(ROOT / "docs" / f"{name}.jsonl")
    assert report(measured.trials, 0.01) in document
    assert f"{measured.plan.steps} steps a generation" in document
    assert {one.added for one in measured.trials} == {0.0, 0.03, 0.05}
