"""Runs read from files: what they say arrives, and what is no run is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentcy.__main__ import main
from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.verdict import FAILED, PASSED, Verdict
from latentcy.gates.speed import compare
from latentcy.store.history.imports import read_runs
from latentcy.store.history.rows import CLIP, LATENCY, MEMORY, RATIO, SPEEDUP, SSIM, RunRows
from latentcy.store.results import Results

ENVIRONMENT = {"torch": "2.13.0", "threads": "1"}


def record(**values: Any) -> Record:
    """A record with a number for each metric."""
    rounds = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
    given = {
        "seconds": 1.3,
        "rounds": rounds,
        "speedup": 2.0,
        "comparison": compare([2.6] * 4 + [2.5] * 4, [1.3] * 4 + [1.26] * 4, 0.01),
        "peak_bytes": 2**30,
        "clip": 27.5,
        "ssim": 0.99,
        "verdicts": (Verdict("latency", PASSED, "."), Verdict("SSIM", FAILED, ".")),
        "environment": ENVIRONMENT,
        **values,
    }
    return Record("sd15/single/fp16", "sd15", "single", "fp16", ".", "NVIDIA A100", **given)


def only(path: Path) -> RunRows:
    """The one run of a file."""
    (run,) = read_runs(path)
    return run


def written(folder: Path, data: Any, name: str = "some.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def plain(**values: Any) -> dict[str, Any]:
    """A file of pytest-benchmark 4 with one benchmark."""
    return {
        "machine_info": {"node": "ci-7", "python_version": "3.11.2", "cpu": {"brand_raw": "Xeon"}},
        "commit_info": {"id": "abc", "branch": "main", "time": "2026-01-02T03:04:05+01:00"},
        "benchmarks": [
            {
                "name": "test_a",
                "fullname": "t.py::test_a",
                "stats": {"median": 0.25, "mean": 0.3, "data": [0.2, 0.25, 0.3]},
            }
        ],
        "datetime": "2026-01-02T03:00:00.5",
        "version": "4.0.0",
        **values,
    }


def test_every_number_of_a_record_becomes_a_measurement(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record()])
    found = {one.metric: one for one in only(tmp_path).measurements}
    values = {name: one.value for name, one in found.items() if name != RATIO}
    assert values == {LATENCY: 1.3, SPEEDUP: 2.0, MEMORY: 2**30, CLIP: 27.5, SSIM: 0.99}
    assert found[RATIO].low <= found[RATIO].value <= found[RATIO].high
    assert found[SPEEDUP].low <= 2.0 <= found[SPEEDUP].high
    assert [found[name].unit for name in (LATENCY, MEMORY, SSIM)] == ["s", "bytes", ""]
    assert [found[name].status for name in (LATENCY, SSIM, MEMORY)] == [PASSED, FAILED, ""]


def test_a_median_s_bounds_are_the_order_statistics_of_the_tables(tmp_path: Path) -> None:
    """n = 7: ranks 1 and 7 hold it with 98.4 %, ranks 2 and 6 with 87.5 % only."""
    Results(tmp_path).write("why", ENVIRONMENT, [record()])
    latency = next(one for one in only(tmp_path).measurements if one.metric == LATENCY)
    assert (latency.low, latency.high) == (1.0, 1.6)


def test_numbers_without_a_name_here_are_taken_by_theirs(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record()])
    data = json.loads((tmp_path / "run.json").read_text())
    data["records"][0] |= {
        "profile": {"idle_seconds": 0.2, "kernels": {"launches": 12}, "names": ["x"]},
        "quality": {"lpips": {"mean": 0.1, "low": 0.09, "high": 0.12}, "judged": True},
        "vendi": 3.5,
    }
    found = {one.metric: one for one in only(written(tmp_path, data)).measurements}
    assert found["profile.idle_seconds"][2:6] == (0.2, None, None, "s")
    assert found["profile.kernels.launches"].value == 12
    assert found["quality.lpips"][2:5] == (0.1, 0.09, 0.12)
    assert found["vendi"].value == 3.5
    assert not {"quality.judged", "yardstick_seconds"} & set(found)


def test_a_number_that_is_none_stays_as_none_with_its_verdict(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record(ssim=float("nan"))])
    ssim = next(one for one in only(tmp_path).measurements if one.metric == SSIM)
    assert (ssim.value, ssim.status) == (None, FAILED)


def test_the_gate_of_older_records_stood_for_clip_and_ssim(tmp_path: Path) -> None:
    older = record(verdicts=(Verdict("quality", FAILED, "."),))
    Results(tmp_path).write("why", ENVIRONMENT, [older])
    judged = {one.metric for one in only(tmp_path).measurements if one.status == FAILED}
    assert judged == {CLIP, SSIM}


def test_a_skipped_case_has_no_measurement(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record(skipped="no GPU")])
    assert only(tmp_path).measurements == ()


def test_the_machine_is_the_device_with_its_threads(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record()])
    assert only(tmp_path).run.environment.fingerprint == "device: NVIDIA A100; threads: 1"


def test_a_record_from_another_machine_keeps_its_own_environment(tmp_path: Path) -> None:
    Results(tmp_path).write(
        "why", ENVIRONMENT, [record(), record(environment={"torch": "2.13.0", "threads": "8"})]
    )
    own = only(tmp_path).measurements[-1].environment
    assert own is not None and own.fingerprint == "device: NVIDIA A100; threads: 8"


def test_a_run_s_own_id_and_start_are_kept(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record()])
    data = json.loads((tmp_path / "run.json").read_text())
    started = "2026-01-02T03:04:05+02:00"
    data["about"] = {"id": "r1", "started": started, "commit": "c", "branch": "b"}
    run = only(written(tmp_path, data)).run
    assert (run.id, run.started) == ("r1", "2026-01-02T01:04:05.000000Z")
    assert (run.commit, run.branch) == ("c", "b")


def test_a_run_without_an_id_gets_the_same_one_wherever_its_file_lies(tmp_path: Path) -> None:
    Results(tmp_path / "a").write("why", ENVIRONMENT, [record()])
    copy = written(tmp_path, (tmp_path / "a" / "run.json").read_text())
    Results(tmp_path / "b").write("why", ENVIRONMENT, [record(seconds=1.4)])
    assert only(tmp_path / "a").run.id == only(copy).run.id
    assert only(tmp_path / "b").run.id != only(copy).run.id


def test_a_plain_benchmark_is_a_case_with_a_latency(tmp_path: Path) -> None:
    rows = only(written(tmp_path, plain()))
    (one,) = rows.measurements
    assert (one.case, one.metric, one.value, one.unit) == ("t.py::test_a", LATENCY, 0.25, "s")
    assert (rows.run.commit, rows.run.branch) == ("abc", "main")
    assert rows.run.started == "2026-01-02T03:00:00.500000Z"
    assert rows.run.environment.fingerprint == "device: Xeon"
    assert rows.run.environment.values["python"] == "3.11.2"


@pytest.mark.parametrize(
    ("version", "stats", "machine", "expected"),
    [
        ("1.0.0", {"mean": 0.3}, {"processor": "x86_64", "node": "h"}, 0.3),
        ("2.5.0", {"mean": 0.3, "data": [0.1, 0.2, 0.9]}, {"cpu": {"brand": "Xeon"}}, 0.2),
        ("3.4.1", {"mean": 0.3, "median": 0.25}, {"cpu": {"vendor_id": "x"}}, 0.25),
        ("5.1.0", {"median": 0.25}, {"cpu": {"brand_raw": "Xeon", "count": 8}}, 0.25),
    ],
)
def test_files_of_any_age_are_read(
    tmp_path: Path, version: str, stats: dict, machine: dict, expected: float
) -> None:
    data = plain(version=version, machine_info=machine)
    data["benchmarks"] = [{"name": "test_a", "stats": stats}]
    (one,) = only(written(tmp_path, data)).measurements
    assert (one.case, one.value) == ("test_a", expected)


def test_a_file_with_nothing_but_benchmarks_is_read(tmp_path: Path) -> None:
    data = {"benchmarks": plain()["benchmarks"]}
    assert len(only(written(tmp_path, data)).measurements) == 1


def test_pytest_benchmark_s_own_file_is_read(tmp_path: Path) -> None:
    """What the plugin that is installed writes today, and not what we believe that it writes."""
    (tmp_path / "test_it.py").write_text("def test_it(benchmark): benchmark(sum, [1])\n")
    arguments = ["--benchmark-json=out.json", "--benchmark-min-rounds=7", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--benchmark-max-time=0.01", *arguments],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    rows = only(tmp_path / "out.json")
    (one,) = rows.measurements
    assert one.case == "test_it.py::test_it"
    assert one.low <= one.value <= one.high
    assert rows.run.started.endswith("Z") and rows.run.environment.fingerprint


def test_our_own_benchmark_file_gives_the_same_numbers_as_the_run_file(tmp_path: Path) -> None:
    Results(tmp_path).write("why", ENVIRONMENT, [record()])
    data = plain(machine_info={"latentcy": ENVIRONMENT})
    data["benchmarks"][0]["extra_info"] = record().to_dict()
    older = written(tmp_path, data, "older.json")
    data["latentcy"] = {"records": [record().to_dict()], "about": {"id": "r1"}}
    newer = written(tmp_path, data, "newer.json")
    expected = only(tmp_path).measurements
    assert only(older).measurements == expected
    assert only(newer).measurements == expected
    assert only(newer).run.id == "r1"


@pytest.mark.parametrize("schema", [1, 2, 3, 99])
def test_records_of_any_schema_are_remembered(tmp_path: Path, schema: int) -> None:
    one = {"schema": schema, "case": "a/b/c", "device": "cpu", "seconds": 2.0}
    data = {"schema": 1, "model": "", "environment": {}, "records": [one]}
    assert only(written(tmp_path, data)).measurements[0][:3] == ("a/b/c", LATENCY, 2.0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ("\x00\xff\x00", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1, 2]", "something else"),
        ('{"a": 1}', "something else"),
        ('{"schema": 1, "records": [3]}', "damaged"),
        ('{"schema": 1, "records": [{"seconds": 1}]}', "damaged"),
        ('{"benchmarks": [{"stats": {}}]}', "damaged"),
        ('{"benchmarks": [], "datetime": "yesterday"}', "damaged"),
        ('{"latentcy_history": 99}\n', "damaged"),
        ('{"latentcy_history": 1}\n{"run": "a"}\n', "damaged"),
        ("run,started,commit,branch,other\n", "damaged"),
    ],
)
def test_what_is_no_run_is_refused_by_name(tmp_path: Path, text: str, word: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(LatentcyError) as caught:
        list(read_runs(path))
    assert word in caught.value.found and str(path) in caught.value.found


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match="cannot be read"):
        list(read_runs(tmp_path / "none.json"))


def test_a_run_of_a_newer_schema_or_without_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for run, word in (
        ({"schema": 99, "records": [1]}, "schema 99"),
        ({"schema": 2, "records": []}, "no case"),
    ):
        path.write_text(json.dumps(run))
        with pytest.raises(LatentcyError, match=word):
            list(read_runs(path))


def test_a_file_that_cannot_be_read_costs_none_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"benchmarks": [{"name": "one", "fullname": "one", "stats": {"median": 1.0}}]}
    for name, text in (("a.json", "{"), ("b.json", json.dumps(good))):
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert main(["history", "import", *files, "--history", str(tmp_path / "h.db")]) == 2
    said = capsys.readouterr()
    assert "b.json: 1 run written" in said.out and "a.json: " not in said.out
    assert "a.json, which is no JSON" in said.err
