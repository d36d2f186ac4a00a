"""What pytest-benchmark holds of rounds that ended early is exactly what its fixture timed."""

from __future__ import annotations

import json
import re

import pytest

from whole_run import ROOT

STUB = """
    import time
    from types import SimpleNamespace

    import pytest

    from latentcy.fixtures.run import timed
    from latentcy.measure.pairing import Pairing
    from latentcy.stats.looks import Looks
    from latentcy.suite.pair_budget import Plan
    from latentcy.suite.timed_case import TimedCase

    ENDED = {}


    class Sampler:
        generating_seconds = 0.0
        calls = 0

        def generate(self):
            self.calls += 1
            if self.calls == FAILS_AT:
                raise RuntimeError("the pipeline broke")
            time.sleep(0.001)


    class Speed:
        def is_left_out(self, case):
            return False

        def begin(self, case):
            looks = Looks(AFTER)
            self.references = 0
            def reference():
                self.references += 1
                return 0.001
            pairing = Pairing(
                reference,
                increments=looks.increments,
                seed=0,
                is_known=lambda pairs: len(pairs) >= KNOWN_AT,
            )
            return TimedCase(case, Sampler(), pairing, None, Plan(looks), None, None, None)

        def end(self, timing, rounds):
            ENDED["rounds"], ENDED["calls"] = rounds, timing.sampler.calls
            ENDED["pairs"], ENDED["references"] = timing.pairing.pairs(rounds), self.references

        def cut_off(self, timing, rounds):
            ENDED["cut off"] = rounds


    @pytest.fixture
    def run():
        return SimpleNamespace(speed=Speed())


    def test_latency(timed, benchmark):
        timed(SimpleNamespace(id="a case"))
        assert not benchmark.has_error
        assert list(benchmark.stats.stats.data) == ENDED["rounds"]
        assert len(ENDED["rounds"]) == len(ENDED["pairs"]) == ENDED["references"] == ROUNDS
        assert ENDED["calls"] == CALLS
        assert "cut off" not in ENDED
"""


@pytest.fixture
def stub(pytester, monkeypatch):
    """Runs a stub of a case whose pairs are known after so many; returns pytest's outcome."""
    monkeypatch.syspath_prepend(ROOT)

    def run(*arguments, after="(10, 20, 40, 80)", known_at=20, rounds=20, calls=20, fails_at=0):
        values = f"AFTER, KNOWN_AT, ROUNDS, CALLS = {after}, {known_at}, {rounds}, {calls}"
        text = f"{values}\nFAILS_AT = {fails_at}\n"
        file = pytester.makepyfile(test_stub=STUB)
        file.write_text(text + file.read_text())
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    return run


def benchmarks(file):
    (one,) = json.loads(file.read_text())["benchmarks"]
    return one


def test_the_json_holds_the_rounds_that_were_timed(stub, pytester):
    stub("--benchmark-json=out.json").assert_outcomes(passed=1)
    one = benchmarks(pytester.path / "out.json")
    stats = one["stats"]
    assert stats["rounds"] == len(stats["data"]) == 20
    assert stats["min"] == min(stats["data"])
    assert stats["mean"] == pytest.approx(sum(stats["data"]) / 20)
    assert one["extra_info"]["case"] == "a case"


def test_the_table_shows_the_rounds_and_marks_no_error(stub):
    outcome = stub("--color=yes", "--benchmark-columns=min,rounds")
    row = next(line for line in outcome.outlines if re.search(r"test_latency .*\b20\b", line))
    assert row.startswith("test_latency ")  # in no colour


def test_what_is_saved_can_be_compared_with_a_later_run(stub, pytester):
    stub("--benchmark-autosave")
    (saved,) = pytester.path.glob(".benchmarks/*/*.json")
    assert benchmarks(saved)["stats"]["rounds"] == 20
    later = stub("--benchmark-compare=0001", known_at=10, rounds=10, calls=10)
    later.assert_outcomes(passed=1)
    later.stdout.re_match_lines_random([r"test_latency \(NOW\)", r"test_latency \(0001_"])
    failed = stub("--benchmark-compare=0001", "--benchmark-compare-fail=mean:100000%")
    failed.assert_outcomes(passed=1)


def test_what_is_never_known_takes_all_its_rounds(stub):
    stub(known_at=1000, rounds=80, calls=80).assert_outcomes(passed=1)


def test_a_fixed_number_is_profiled_by_one_generation_more(stub):
    outcome = stub("--benchmark-cprofile=cumtime", after="(20,)", calls=21)
    outcome.assert_outcomes(passed=1)
    assert "cProfile" in outcome.stdout.str()


def test_a_generation_that_breaks_is_still_an_error(stub, pytester):
    outcome = stub("--benchmark-json=out.json", fails_at=5)
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*RuntimeError: the pipeline broke*"])
    assert json.loads((pytester.path / "out.json").read_text())["benchmarks"] == []
