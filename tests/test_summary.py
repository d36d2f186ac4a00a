"""What CI is given: a summary that explains itself, annotations, and figures for charts."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace

from latentcy.core.comparison import Comparison
from latentcy.core.record import Record
from latentcy.core.run_info import About
from latentcy.core.verdict import Verdict
from latentcy.pipelines.models.catalog import KNOWN
from latentcy.report.ci_metrics import bencher_metrics, smaller_is_better
from latentcy.report.github_annotations import github_annotations
from latentcy.report.markdown import summary
from latentcy.report.reproduce import reproduce
from latentcy.store.results import RunFile

NAMES = ("miniature", "precision")


def record(variant, *verdicts, **more):
    said = tuple(Verdict(*each) for each in verdicts)
    place = f"miniature/precision/{variant}"
    return Record(place, *NAMES, variant, "half precision", "a CPU", verdicts=said, **more)


def run(*records, command=("--model=miniature", "--pairs", "7")):
    about = About("1", "2026-01-01T00:00:00+00:00", commit="c" * 40, command=command)
    return RunFile("The miniature, as asked.", {"torch": "2.13.0"}, records, about)


HEALTHY = record(
    "fp16",
    ("SSIM", "passed", "fine"),
    ("latency", "inconclusive", "no baseline"),
    seconds=1.25,
    rounds=(1.0, 1.2, 1.25, 1.3, 1.6),
    speedup=0.8,
    ssim=0.9999,
    comparison=Comparison(20, 0.01, 1.25, 1.2, 1.3, 0.001, 0.99),
)
BROKEN = record(
    "mine", ("SSIM", "failed", "0.5 | <script>alert(1)</script> *x*"), ("CLIP", "passed", "")
)
CONTROL = record("autocast", ("black images", "failed", "black"), control=True)


def test_the_verdict_stands_first_and_each_failure_says_why_and_how_to_run_it_again():
    text = summary(run(HEALTHY, BROKEN))
    first = text.splitlines()[2]
    assert first.startswith("FAILED: 1 of 2 variants failed, precision/mine (SSIM)")
    assert "**SSIM**: 0.5 " in text
    assert "`pytest --benchmark --latentcy-case=precision/mine --model=miniature --pairs 7`" in text
    assert "no baseline" in text.split("<details>")[1]
    assert "| +25.00 % (+20.00 to +30.00) |" in text


def test_nothing_from_a_file_is_markup():
    text = summary(run(BROKEN))
    assert "<script>" not in text
    assert "&#60;script&#62;" in text and "&#42;x&#42;" in text
    row = next(line for line in text.splitlines() if line.startswith("| precision/mine"))
    assert row.count("|") == 9


def test_a_known_bad_control_is_a_finding():
    text = summary(run(HEALTHY, CONTROL))
    assert text.splitlines()[2].startswith("PASSED")
    assert "a finding, no failure" in text


def test_a_skipped_case_says_why():
    assert "needs a GPU" in summary(run(HEALTHY, record("tf32", skipped="needs a GPU")))


def test_failures_are_annotated_and_passes_are_not():
    broken = record("mine", ("a, b", "failed", "100 % black\nagain"))
    lines = github_annotations((HEALTHY, broken, CONTROL))
    assert lines[0] == "::error title=precision/mine%3A a%2C b::100 %25 black%0Aagain"
    assert lines[1].startswith("::notice title=precision/autocast")
    assert len(lines) == 2


def test_smaller_is_better_holds_no_figure_that_is_better_when_larger():
    found = smaller_is_better((HEALTHY, record("nan", seconds=math.nan, peak_bytes=7)))
    assert [one["name"] for one in found] == [
        "miniature/precision/fp16 latency",
        "miniature/precision/nan peak memory",
    ]
    assert found[0] | {"extra": ""} == {
        "name": "miniature/precision/fp16 latency",
        "unit": "seconds",
        "value": 1.25,
        "range": "± 0.05",
        "extra": "",
    }
    json.dumps(found, allow_nan=False)


def test_bencher_metrics_hold_values_with_bounds():
    found = bencher_metrics((HEALTHY,))["miniature/precision/fp16"]
    assert found["latency"] == {"value": 1.25, "lower_value": 1.0, "upper_value": 1.6}
    assert found["ssim"] == {"value": 0.9999}
    json.dumps(found, allow_nan=False)


def test_the_command_runs_the_one_case_with_the_settings_of_its_run():
    given = ["--benchmark", "--only", "fp16", "--variants=my file.py", "--results=x", "--pairs=9"]
    again = shlex.split(reproduce(BROKEN, given))
    assert again == [
        "pytest",
        "--benchmark",
        "--latentcy-case=precision/mine",
        "--latentcy-model=miniature",
        "--variants=my file.py",
        "--pairs=9",
    ]


def test_the_command_keeps_the_model_that_was_asked_for_and_records_nothing():
    again = reproduce(BROKEN, ["--model", "sd15", "--benchmark-record", "-k", "ssim"])
    assert again == "pytest --benchmark --latentcy-case=precision/mine --model sd15"


def test_the_command_asks_for_no_model_that_only_an_ini_file_names():
    again = reproduce(
        replace(BROKEN, model="a-folder-of-mine"), ["--benchmark", "--latentcy-case=a/b"]
    )
    assert again == "pytest --benchmark --latentcy-case=precision/mine"


def test_every_model_that_is_known_by_name_is_asked_for_by_it():
    for name in KNOWN:
        assert f"--latentcy-model={name}" in reproduce(replace(BROKEN, model=name), [])
