"""Whole runs against stored baselines and a broken decoder: the gates open and close rightly."""

from __future__ import annotations

import contextlib
import json

import pytest

from tiny import build_tiny
from whole_run import ROOT, benchmark, short_variants

pytestmark = pytest.mark.system

QUICK = ("--images=1", "--rounds=2", "--only=precision/short")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Options for a tiny model, and for variants of a few steps."""
    folder = tmp_path_factory.mktemp("tiny")
    free = "VARIANTS += [Variant('free', 'Nothing.', speed_gated=False, **SHORT)]\n"
    return f"--model={build_tiny(folder)}", short_variants(folder, free)


def verdict(outcome, variant, gate, group="precision"):
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    record = next(one for one in records if (one["group"], one["variant"]) == (group, variant))
    return next(one for one in record["verdicts"] if one["gate"] == gate)


def rewrite(pytester, *, fingerprint=None, **run):
    stored = next((pytester.path / "baselines").rglob("precision-short.json"))
    data = json.loads(stored.read_text())
    data["runs"] = [data["runs"][0] | run]
    data["fingerprint"] = fingerprint or data["fingerprint"]
    stored.write_text(json.dumps(data))


def test_without_a_baseline_the_latency_is_open_and_the_run_passes(pytester, tiny):
    outcome = benchmark(pytester, *tiny, *QUICK)
    assert outcome.status == 0
    assert verdict(outcome, "short", "latency")["status"] == "inconclusive"
    assert "latency and memory inconclusive: no baseline is stored" in outcome.text


def test_what_is_open_fails_under_strict(pytester, tiny):
    outcome = benchmark(pytester, *tiny, "--strict", *QUICK)
    assert outcome.status == 1
    assert "latency inconclusive" in outcome.text


def test_a_case_slower_and_larger_than_its_baseline_fails_by_both_gates(pytester, tiny):
    recorded = benchmark(pytester, *tiny, "--benchmark-record", *QUICK)
    assert recorded.status == 0
    rewrite(pytester, seconds=1e-4, rounds=[1e-4, 1e-4], peak_bytes=2**20)
    outcome = benchmark(pytester, *tiny, *QUICK)
    assert outcome.status == 1
    assert "slower than the 0.0001 s stored" in verdict(outcome, "short", "latency")["reason"]
    assert "against 1 MiB stored" in verdict(outcome, "short", "memory")["reason"]
    assert "FAILED: 1 of 1 variants failed, precision/short (latency, memory)" in outcome.text


def test_a_case_within_its_baseline_passes(pytester, tiny):
    benchmark(pytester, *tiny, "--benchmark-record", *QUICK)
    rewrite(pytester, seconds=1e4, rounds=[1e4, 1e4], peak_bytes=2**40)
    outcome = benchmark(pytester, *tiny, *QUICK)
    assert verdict(outcome, "short", "latency")["status"] == "passed"
    assert verdict(outcome, "short", "memory")["status"] == "passed"


def test_a_variant_whose_speed_is_not_gated_is_timed_and_has_no_latency_verdict(pytester, tiny):
    outcome = benchmark(pytester, *tiny, "--only=free", "--pairs=0", *QUICK[:2])
    assert outcome.status == 0
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    free = next(record for record in records if record["variant"] == "free")
    assert free["seconds"] > 0
    assert "latency" not in {one["gate"] for one in free["verdicts"]}


def test_a_baseline_of_another_device_is_not_compared(pytester, tiny):
    benchmark(pytester, *tiny, "--benchmark-record", *QUICK)
    stored = next((pytester.path / "baselines").rglob("precision-short.json"))
    fingerprint = json.loads(stored.read_text())["fingerprint"] | {"device_name": "Another"}
    rewrite(pytester, fingerprint=fingerprint, seconds=1e-4, rounds=[1e-4, 1e-4])
    outcome = benchmark(pytester, *tiny, *QUICK)
    said = verdict(outcome, "short", "latency")
    assert said["status"] == "inconclusive"
    assert "Another stored" in said["reason"]


def test_a_variant_that_cannot_run_here_is_skipped_with_the_reason(pytester, tiny):
    outcome = benchmark(pytester, *tiny, "-k", "black", "--images=1", "--only=tf32", "--device=cpu")
    assert outcome.status == 0
    assert "skipped: tf32 needs an NVIDIA GPU" in " ".join(outcome.text.split())


def test_the_record_of_every_case_lands_in_the_benchmarks_json(pytester, tiny):
    file = pytester.path / "benchmark.json"
    benchmark(pytester, *tiny, f"--benchmark-json={file}", *QUICK)
    written = json.loads(file.read_text())
    extra = written["benchmarks"][0]["extra_info"]
    assert extra["case"].endswith("/precision/short")
    assert extra["clip"] is not None and extra["peak_bytes"] and extra["stages"]
    assert {one["gate"] for one in extra["verdicts"]} >= {"latency", "memory", "black images"}
    assert len(written["latentcy"]["records"]) == 1


@pytest.mark.parametrize(("arguments", "home"), [((), "tests"), (("--benchmark",), "perf_tests")])
def test_each_mode_collects_its_own_tests_only(pytester, tiny, arguments, home):
    model = [tiny[0], f"--results={pytester.path}"] if arguments else []
    with contextlib.chdir(ROOT):
        ran = pytester.runpytest_inprocess("--collect-only", "-q", *arguments, *model)
    names = [line for line in ran.outlines if "::" in line]
    assert names
    assert all(line.startswith(f"{home}/") for line in names)


def test_each_published_claim_is_a_test_of_its_own_and_a_finding_fails_nothing(pytester, tiny):
    outcome = benchmark(pytester, *tiny, "-k", "test_claim", *QUICK)
    assert outcome.status == 0
    assert (
        "test_claim[tf32-is-on-by-default-for-convolutions-and-off-for-matrix-products] PASSED"
        in (" ".join(outcome.text.split()))
    )
    assert outcome.text.count("test_claim[") == 10
    assert "1 passed, 9 skipped" in outcome.text
