"""Runs the suite as a user does, in this process, against this repository."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a run left: exit status, everything printed, the results folder."""

    status: int
    text: str
    results: Path


# Invariants have tests of their own; a run that is about something else takes half the time
# without them.
_SHORTER = "--deselect=perf_tests/test_invariants.py"


def benchmark(pytester: pytest.Pytester, *arguments: str) -> Outcome:
    """`pytest --benchmark ARGUMENTS`, with results and baselines in a folder of its own."""
    results = pytester.path / "results"
    given = " ".join(arguments)
    places = [f"--results={results}"] if "--results" not in given else []
    if "--baselines" not in given:
        places.append(f"--baselines={pytester.path / 'baselines'}")
    places += _shorter(arguments)
    with contextlib.chdir(ROOT):
        ran = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "--benchmark", *places, *arguments
        )
    text = ran.stdout.str() + ran.stderr.str()
    return Outcome(int(ran.ret), text, results)


def benchmark_process(folder: Path, *arguments: str) -> Outcome:
    """The same in a process of its own, for what must not touch this one."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark"]
    command += [f"--results={folder / 'results'}", f"--baselines={folder / 'baselines'}"]
    ran = subprocess.run(
        [*command, *_shorter(arguments), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(ran.returncode, ran.stdout + ran.stderr, folder / "results")


def _shorter(arguments: tuple[str, ...]) -> list[str]:
    planned = [] if any(one.startswith("--minutes") for one in arguments) else ["--minutes=0"]
    chosen = any(one.startswith(("-k", "--inject", "perf_tests")) for one in arguments)
    return planned if chosen else [*planned, _SHORTER]


def assert_message(outcome: Outcome, *parts: str) -> None:
    """A message with its three parts and the given words, a failing exit, and no traceback."""
    message = re.search(r"found  .*\n(?:.*\n)*?.*expected  .*\n(?:.*\n)*?.*do  .*", outcome.text)
    assert message, outcome.text
    for part in parts:
        assert part in outcome.text
    assert_no_traceback(outcome)
    assert outcome.status != 0


def assert_no_traceback(outcome: Outcome) -> None:
    """Neither Python's traceback nor pytest's."""
    assert "Traceback" not in outcome.text
    assert not re.search(r"^E   |^\S+\.py:\d+: \w*Error", outcome.text, re.MULTILINE)
