"""Change points: found where they are, silent where nothing changed, said so that one can act."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from latentcy.commands.changes import worse_lately
from latentcy.commands.history import add_commands
from latentcy.core.errors import LatentcyError
from latentcy.report.changes import changes_text
from latentcy.stats.changepoint_size import level_ratio
from latentcy.stats.changepoints import (
    best_split,
    correlation_inflation,
    find_splits,
    normal_scores,
    scan_p,
    spikes,
)
from latentcy.store.history.changes import find_changes, new_machines
from latentcy.store.history.directions import better
from latentcy.store.history.rows import (
    CLIP,
    LATENCY,
    MEMORY,
    SPEEDUP,
    SSIM,
    Environment,
    Measurement,
    Point,
    RunRow,
    RunRows,
    Series,
)
from latentcy.store.history.store import History
from latentcy.studies.changepoints import trials
from latentcy.studies.changepoints.synthetic import KINDS, late_step, series

A, B = Environment("device: A", {"torch": "2.12.0"}), Environment("device: B", {"torch": "2.12.0"})
NEWER = Environment("device: A", {"torch": "2.13.0", "driver": "550"})


def kind(name: str, count: int = 20) -> list:
    """Series of a kind, always the same ones."""
    return series(next(one for one in KINDS if one.name == name), count)


def history(
    values: Sequence[float],
    environments: Sequence[Environment] | None = None,
    *,
    metric: str = LATENCY,
    unit: str = "s",
) -> Series:
    """A series with a run a second."""
    places = environments or [A] * len(values)
    points = tuple(
        Point(f"r{number}", f"2026-01-01T00:{number // 60:02}:{number % 60:02}", f"c{number}",
              "main", float(value), None, None, "passed", place)
        for number, (value, place) in enumerate(zip(values, places, strict=True))
    )  # fmt: skip
    return Series("sd15/single/fp16", metric, unit, points)


def noisy(*levels: tuple[int, float], seed: int = 0) -> np.ndarray:
    """So many numbers of each level, with 1.5 % of noise."""
    level = np.concatenate([np.full(count, value) for count, value in levels])
    return level * (1 + 0.015 * np.random.default_rng(seed).normal(size=level.size))


@pytest.mark.parametrize("name", ["3 % step", "3 % step, 5 % of runs x1.2"])
def test_a_step_of_three_percent_is_found_within_seven_runs(name: str) -> None:
    known = kind(name)
    score = trials.scored(
        known, [[one.index for one in find_splits(each.values)] for each in known]
    )
    assert score.found >= 19
    assert score.false <= 1


@pytest.mark.parametrize("one", [one.name for one in KINDS if one.name.startswith("no change")])
def test_where_nothing_changes_fewer_than_one_series_in_twenty_shows_a_change(one: str) -> None:
    assert sum(len(find_splits(each.values)) for each in kind(one, 120)) < 6


def test_a_step_and_its_repair_are_two_changes() -> None:
    known = kind("3 % up, 40 runs later down")
    score = trials.scored(
        known, [[one.index for one in find_splits(each.values)] for each in known]
    )
    assert score.found >= 38


def test_a_step_of_ten_percent_is_found_after_six_runs() -> None:
    known = series(late_step(0.10, 6), 20)
    score = trials.scored(
        known, [[one.index for one in find_splits(each.values)] for each in known]
    )
    assert score.found >= 19


def test_a_slow_drift_is_seen() -> None:
    found = [find_splits(each.values) for each in kind("5 % drift over all runs")]
    assert all(found)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_few_runs_out_of_line_are_no_change_wherever_they_are(length: int) -> None:
    for start in (0, 50, 100 - length):
        values = noisy((100, 1.0))
        values[start : start + length] *= 1.3
        assert find_splits(values) == ()
        assert spikes(values)[start : start + length].all()


def test_equal_numbers_have_no_change_and_one_other_among_them_is_none() -> None:
    same = np.full(100, 2.0**30)
    assert find_splits(same) == ()
    for place in (0, 50, 99):
        other = same.copy()
        other[place] += 512
        assert find_splits(other) == ()


def test_a_step_between_equal_numbers_is_found_to_the_run() -> None:
    values = np.repeat([2.0**30, 2.0**30 + 2**21], [60, 40])
    (change,) = find_changes(history(values, metric=MEMORY, unit="bytes"))
    assert (change.index, change.earliest, change.latest) == (60, 60, 60)
    assert change.low == change.high == change.ratio == pytest.approx(1 + 2**-9)


@pytest.mark.parametrize("count", [0, 1, 5, 9, 10, 11, 25])
def test_short_series_are_taken_as_they_come(count: int) -> None:
    values = noisy((count, 1.0))
    assert find_splits(values) == ()
    assert find_changes(history(values)) == ()


def test_the_scan_s_odds_are_those_of_a_simulation() -> None:
    """The formula against 4000 series without a change: both say how often chance goes so far."""
    rng = np.random.default_rng(5)
    largest = np.array([best_split(rng.normal(size=60))[1] for _ in range(4000)])
    for p in (0.1, 0.03):
        limit = np.quantile(largest, 1 - p)
        assert scan_p(float(limit), 60) == pytest.approx(p, rel=0.3)


def test_a_single_split_s_deviate_is_that_of_the_t_test_on_scores() -> None:
    values = noisy((12, 1.0), (8, 1.02))
    index, deviate = best_split(values)
    scores = normal_scores(values)
    p = stats.ttest_ind(scores[:index], scores[index:]).pvalue
    assert 2 * stats.norm.sf(deviate) == pytest.approx(p, rel=1e-6)


def test_correlated_noise_is_taken_for_what_it_is() -> None:
    white, correlated = kind("no change"), kind("no change, correlated 0.6")
    assert np.mean([correlation_inflation(one.values) for one in white]) < 1.1
    expected = math.sqrt((1 + 0.6) / (1 - 0.6))
    found = np.mean([correlation_inflation(one.values) for one in correlated])
    assert found == pytest.approx(expected, rel=0.25)


def test_the_ratio_s_bounds_are_those_of_the_rank_sum_test() -> None:
    """Shifted to a bound, the test is about to reject at 5 %."""
    before, after = noisy((30, 1.0)), noisy((20, 1.03), seed=1)
    ratio, low, high = level_ratio(before, after)
    assert low < 1.03 < high and low < ratio < high
    for bound in (low, high):
        p = stats.mannwhitneyu(np.log(after) - math.log(bound), np.log(before)).pvalue
        assert p == pytest.approx(0.05, abs=0.015)


def test_numbers_below_zero_have_a_ratio_too() -> None:
    ratio, low, high = level_ratio(np.array([-1.0, 2.0, 2.0]), np.array([1.0, 1.0]))
    assert low <= ratio <= high
    assert all(math.isnan(one) for one in level_ratio(np.zeros(9), np.ones(9)))


def test_a_change_says_when_how_much_how_sure_and_between_what() -> None:
    values = noisy((60, 2.0), (40, 2.1))
    (change,) = find_changes(history(values, [A] * 60 + [NEWER] * 40))
    assert abs(change.index - 60) <= 2
    assert change.earliest <= 60 <= change.latest
    assert change.before == pytest.approx(2.0, rel=0.01)
    assert change.low < 1.05 < change.high
    assert change.p < 1e-6
    assert change.commit_before == f"c{change.index - 1}"
    assert (change.run_after, change.commit_after) == (f"r{change.index}", f"c{change.index}")
    assert change.versions_changed == ("torch 2.12.0 -> 2.13.0", "driver none -> 550")
    assert change.worse is True


def test_another_machine_begins_a_series_and_is_no_change() -> None:
    found = history(noisy((50, 1.0), (50, 2.0), seed=2), [A] * 50 + [B] * 50)
    assert find_changes(found) == ()
    (machine,) = new_machines(found)
    assert (machine.index, machine.fingerprint_before, machine.fingerprint) == (
        50, "device: A", "device: B",
    )  # fmt: skip


def test_machines_that_take_turns_have_a_series_each() -> None:
    values = noisy((120, 1.0))
    values[1::2] *= 3
    values[60:] *= 1.05
    found = find_changes(history(values, [A, B] * 60))
    assert [one.fingerprint for one in sorted(found, key=lambda one: one.fingerprint)] == [
        "device: A",
        "device: B",
    ]
    assert all(abs(one.index - 60) <= 6 for one in found)
    assert len(new_machines(history(values, [A, B] * 60))) == 1


def test_runs_without_a_number_are_left_out_and_places_stay_right() -> None:
    values = noisy((60, 1.0), (60, 1.1))
    values[[3, 59, 80]] = math.nan
    (change,) = find_changes(history(values))
    assert abs(change.index - 60) <= 1


def test_a_change_smaller_than_asked_for_is_left_out() -> None:
    values = noisy((100, 1.0), (100, 1.03))
    assert find_changes(history(values), least=0.05) == ()
    assert len(find_changes(history(values), least=0.01)) == 1


@pytest.mark.parametrize(
    ("metric", "unit", "expected"),
    [
        (LATENCY, "s", "lower"),
        (MEMORY, "bytes", "lower"),
        (SPEEDUP, "", "higher"),
        (CLIP, "", "higher"),
        (SSIM, "", "higher"),
        ("quality.lpips", "", "lower"),
        ("quality.psnr", "", "higher"),
        ("profile.idle_seconds", "s", "lower"),
        ("profile.launches", "", None),
    ],
)
def test_which_way_is_worse_is_known_by_metric(
    metric: str, unit: str, expected: str | None
) -> None:
    assert better(metric, unit) == expected
    (change,) = find_changes(history(noisy((50, 1.0), (50, 1.1)), metric=metric, unit=unit))
    assert change.worse is {"lower": True, "higher": False, None: None}[expected]


def test_changes_are_printed_within_a_terminal() -> None:
    long = replace(NEWER, values={"a package with a long name": "1." * 60})
    one = history(noisy((60, 2.0), (60, 2.1)), [A] * 60 + [long] * 40 + [B] * 20)
    one = replace(one, case="model/group/" + "variant-" * 20)
    text = changes_text([one], *_found(one))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "WORSE +" in text and "new machine from c100" in text and "c59" in text


def test_only_a_sure_change_for_the_worse_in_the_newest_runs_fails_a_gate() -> None:
    worse = history(noisy((80, 1.0), (12, 1.1)))
    better_now = history(noisy((80, 1.1), (12, 1.0)))
    (change,) = find_changes(worse)
    assert worse_lately([worse], [change], 20) == (change,)
    assert worse_lately([worse], [change], 5) == ()
    assert worse_lately([worse], [replace(change, p=0.015)], 20)
    assert worse_lately([worse] * 10, [replace(change, p=0.015)], 20) == ()
    assert worse_lately([better_now], find_changes(better_now), 20) == ()


def test_the_command_fails_on_a_change_and_passes_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--history", str(tmp_path / "a.db")]
    values = noisy((80, 1.0), (12, 1.1))
    with History(tmp_path / "a.db") as store:
        store.add(_run(number, value) for number, value in enumerate(values[:80]))
    assert _command(["changes", "--fail-on-change", *at]) == 0
    assert "0 changes in 1 series" in capsys.readouterr().out
    with History(tmp_path / "a.db") as store:
        store.add(_run(number, value) for number, value in enumerate(values))
    assert _command(["changes", *at]) == 0
    assert "WORSE" in capsys.readouterr().out
    assert _command(["changes", "--fail-on-change", *at]) == 1
    out = capsys.readouterr().out
    assert "FAILED: m/g/v, latency: +" in out and "between c79 and c80" in out
    assert _command(["changes", "--fail-on-change", "--newest", "5", *at]) == 0
    with pytest.raises(LatentcyError, match="m/g/v"):
        _command(["changes", "--case", "typo", *at])


def test_the_trials_print_their_tables_with_otava_s_series() -> None:
    methods = {"ours": lambda all_values: [[100] for _ in all_values]}
    kinds = [one for one in KINDS if one.name == "no change"]
    assert "| no change | 1.000 false |" in trials.kinds_table(methods, 2, kinds)
    table = trials.published_table({"ours": trials._ours})
    assert "tigerbeetle, 365 runs (15, 71) | 15, 61, 71, 95" in table


def test_another_library_that_cannot_run_is_named() -> None:
    with pytest.raises(LatentcyError, match="no-such-python"):
        trials._other("no-such-python", "", 0.0, [np.zeros(3)])


def _found(one: Series) -> tuple[dict, dict]:
    key = (one.case, one.metric, one.unit)
    return {key: find_changes(one)}, {key: new_machines(one)}


def _run(number: int, value: float) -> RunRows:
    started = f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000000Z"
    row = RunRow(f"r{number}", started, f"c{number}", "main", A)
    return RunRows(row, (Measurement("m/g/v", LATENCY, float(value), unit="s"),))


def _command(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    asked = parser.parse_args(arguments)
    return asked.command(asked)
