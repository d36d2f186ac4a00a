"""A case that exhausts memory, one that crashes and one that hangs cost themselves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from latentcy.__main__ import main
from latentcy.core.errors import LatentcyError
from latentcy.store.results import Results, read_run
from latentcy.suite import isolation
from latentcy.suite.isolation import IsolatedRunner, ProcessEnd, run_isolated
from latentcy.suite.run import NO_END
from report_run import record, write_run
from tiny import build_tiny
from whole_run import (
    ROOT,
    assert_message,
    assert_no_traceback,
    benchmark,
    benchmark_process,
    short_variants,
)

pytestmark = pytest.mark.system

VARIANTS = textwrap.dedent(
    """
    import ctypes
    import os
    import time
    import torch
    from latentcy import Variant

    def exhaust(pipeline):
        forward = pipeline.unet.forward
        def hungry(*arguments, **settings):
            torch.empty(2**50)
            return forward(*arguments, **settings)
        pipeline.unet.forward = hungry

    def crash(pipeline):
        print("about to read what is not there", flush=True)
        ctypes.string_at(0)

    def leave(pipeline):
        print("leaving with status 0", flush=True)
        os._exit(0)

    def hang(pipeline):
        print("waiting for ever", flush=True)
        time.sleep(10_000)

    SHORT = {"reference": "sound", "ssim_reference": "sound", "steps": 4}
    VARIANTS = [
        Variant("sound", "Four steps.", **SHORT),
        Variant("exhausting", "Asks for a petabyte.", prepare=exhaust, **SHORT),
        Variant("crashing", "Reads address zero.", prepare=crash, **SHORT),
        Variant("leaving", "Ends its process, as if all were well.", prepare=leave, **SHORT),
        Variant("hanging", "Never comes back.", prepare=hang, **SHORT),
        Variant("healthy", "Nothing.", **SHORT),
    ]
    """
)

LIMIT = 15  # seconds: several times what a sound one takes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def apart(tmp_path_factory, tiny):
    """One run of all of them, each in its own process."""
    folder = tmp_path_factory.mktemp("apart")
    file = folder / "mine.py"
    file.write_text(VARIANTS)
    return benchmark_process(
        folder,
        "--isolate",
        f"--model={tiny}",
        f"--variants={file}",
        "--only=sound,exhausting,crashing,leaving,hanging,healthy",
        "--images=1",
        "--rounds=2",
        "--pairs=7",
        f"--limit={LIMIT}",
    )


def records(outcome):
    return {record.variant: record for record in read_run(outcome.results).records}


def verdict(outcome, variant, gate):
    return next(one for one in records(outcome)[variant].verdicts if one.gate == gate)


def test_the_run_fails_and_every_case_has_its_record(apart):
    assert apart.status == 1
    assert_no_traceback(apart)
    assert set(records(apart)) == {
        *("sound", "exhausting", "crashing", "leaving", "hanging", "healthy")
    }


def test_a_crash_is_reported_with_its_signal_and_last_words(apart):
    said = verdict(apart, "crashing", "process")
    assert said.status == "failed"
    assert "killed by SIGSEGV" in said.reason


def test_a_process_that_ends_before_its_run_does_fails_whatever_its_status(apart):
    said = verdict(apart, "leaving", "process")
    assert said.status == "failed"
    assert "its process ended with status 0" in said.reason


@pytest.mark.parametrize(
    ("status", "interrupted", "failed", "said"),
    [
        (0, "", False, None),
        (1, "", True, None),
        (1, "", False, "something failed that is no gate: its process ended with status 1"),
        (0, NO_END, False, "its run did not come to its end: its process ended with status 0"),
        (3, "", False, "its process ended with status 3"),
        (-9, "", False, "its process was killed by SIGKILL"),
    ],
)
def test_a_record_is_trusted_only_of_a_run_that_ended_as_it_says(
    tmp_path, monkeypatch, status, interrupted, failed, said
):
    of_case = record(1, failed=failed)
    folder = tmp_path / "results"

    def run_case(*_, log, **__):
        write_run(log.parent, [of_case], interrupted=interrupted)
        return ProcessEnd(status, "last words")

    monkeypatch.setattr(isolation, "run_isolated", run_case)
    verdicts = []
    run = SimpleNamespace(
        device=SimpleNamespace(kind="cuda"),
        results=Results(folder),
        recorder=SimpleNamespace(
            adopt=lambda record: None,
            add_verdict=lambda case, verdict: verdicts.append(verdict),
            record_of=lambda case: of_case,
        ),
        speed=SimpleNamespace(adopt=lambda case, record: None),
    )
    case = SimpleNamespace(id=of_case.case, label="precision-of-it")
    isolated = IsolatedRunner(run, lambda *_: ["-m", "x"], folder=tmp_path, limit_seconds=9)
    isolated.measure(case)
    assert [(one.gate, one.status) for one in verdicts] == ([("process", "failed")] if said else [])
    if said:
        assert verdicts[0].reason.startswith(said) and "last words" in verdicts[0].reason


def test_a_hang_is_ended_at_the_limit_with_its_last_words(apart):
    said = verdict(apart, "hanging", "process")
    assert f"its process was ended after {LIMIT} s (--limit)" in said.reason
    assert said.status == "failed"


def test_exhausted_memory_is_said_as_that(apart):
    assert "memory ran out" in verdict(apart, "exhausting", "latency").reason


def test_the_others_are_measured_and_judged(apart):
    for name in ("sound", "healthy"):
        assert records(apart)[name].seconds > 0
        assert records(apart)[name].status != "failed"
    assert len(records(apart)["healthy"].pairs) == 7
    assert verdict(apart, "healthy", "speed").status in ("passed", "inconclusive")


def test_a_process_and_its_children_are_ended_at_the_limit(tmp_path):
    source = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', " + (
        "'import time; time.sleep(99)']); open('child', 'w').close(); time.sleep(99)"
    )
    ended = run_isolated(["-c", source], folder=tmp_path, log=tmp_path / "log", limit_seconds=5)
    assert ended.status is None
    assert (tmp_path / "child").exists()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "time.sleep(99)" not in listed


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with its parent")
@pytest.mark.parametrize("forks", [True, False], ids=["forked", "interpreter"])
def test_the_processes_of_the_cases_end_with_their_run(tmp_path, tiny, forks):
    (tmp_path / "mine.py").write_text(VARIANTS)
    program = tmp_path / "program.py"
    program.write_text(
        "import pytest, sys\n"
        "from latentcy.suite.fork_server import ForkServer\n"
        f"ForkServer.is_possible = staticmethod(lambda: {forks})\n"
        "sys.exit(pytest.main(sys.argv[1:]))\n"
    )
    asked = ["-p", "no:cacheprovider", "--benchmark", "--isolate", f"--model={tiny}", "--limit=300"]
    asked += [f"--variants={tmp_path / 'mine.py'}", "--only=hanging", f"--results={tmp_path}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, str(program), *asked],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    log = tmp_path / "cases" / "precision-hanging" / "output.log"
    try:
        _until(lambda: log.exists() and "hanging" in log.read_text(), seconds=120)
        children = _descendants(run.pid)
        assert len(children) >= (2 if forks else 1)
    finally:
        run.kill()
        run.wait()
    _until(lambda: not any(map(_is_alive, children)), seconds=5)


def _until(done, *, seconds):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def _descendants(pid):
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return children + [below for child in children for below in _descendants(child)]


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LatentcyError, match="cannot be written"):
        run_isolated(["-c", ""], folder=tmp_path, log=tmp_path / "file" / "log", limit_seconds=1)


def test_shards_are_disjoint_and_merge_into_one_run(pytester, tiny, capsys):
    shards = []
    variants = short_variants(pytester.path, "VARIANTS += [Variant('third', 'Too.', **SHORT)]\n")
    for number in (1, 2):
        place = pytester.path / f"shard{number}"
        quick = ("--images=1", "--rounds=2", "--pairs=7", "-k", "latency or speed or black")
        benchmark(
            pytester,
            f"--model={tiny}",
            variants,
            "--only=short,other,third",
            f"--shard={number}/2",
            f"--results={place}",
            *quick,
        )
        shards.append(place)
    cases = [{record.case for record in read_run(place).records} for place in shards]
    assert [len(each) for each in cases] == [2, 1]
    capsys.readouterr()
    status = main(["merge", *map(str, shards), "--out", str(pytester.path / "merged")])
    merged = read_run(pytester.path / "merged")
    assert {record.case for record in merged.records} == cases[0] | cases[1]
    assert status == int(any(record.status == "failed" for record in merged.records))
    assert "Results: " in capsys.readouterr().out


def test_a_shard_that_is_none_stops_the_run(pytester, tiny):
    assert_message(benchmark(pytester, f"--model={tiny}", "--shard=3/2"), "--shard 3/2")
    assert_message(benchmark(pytester, f"--model={tiny}", "--case=fp61"), "--case fp61")


def write(folder, **changed):
    run = {"schema": 1, "model": "m", "environment": {"torch": "2"}, "records": []}
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run | changed))
    return folder


def test_what_is_no_run_or_of_other_versions_is_not_merged(tmp_path, capsys):
    good = write(tmp_path / "good")
    out = ["--out", str(tmp_path / "out")]
    for name, changed, said in (
        ("newer", {"schema": 9}, "schema 9"),
        ("damaged", {"records": [{"schema": 3}]}, "damaged"),
        ("other", {"environment": {"torch": "3"}}, "torch 2 in"),
    ):
        bad = write(tmp_path / name, **changed)
        assert main(["merge", str(good), str(bad), *out]) == 2
        assert said in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "absent"), *out]) == 2
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "run.json").write_text("no json")
    assert main(["merge", str(tmp_path / "text"), *out]) == 2
    assert not os.path.exists(tmp_path / "out")
