"""Runs the suite as a user does, in this process, against this repository."""

from __future__ import annotations

import contextlib
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


def benchmark(pytester: pytest.Pytester, *arguments: str) -> Outcome:
    """`pytest --benchmark ARGUMENTS`, with results and baselines in a folder of its own."""
    results = pytester.path / "results"
    given = " ".join(arguments)
    places = [f"--results={results}"] if "--results" not in given else []
    if "--baselines" not in given:
        places.append(f"--baselines={pytester.path / 'baselines'}")
    with contextlib.chdir(ROOT):
        ran = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "--benchmark", *places, *arguments
        )
    text = ran.stdout.str() + ran.stderr.str()
    return Outcome(int(ran.ret), text, results)


def assert_message(outcome: Outcome, *parts: str) -> None:
    """The message has its three parts and the given words, and is no traceback."""
    for part in ("found", "expected", "do", *parts):
        assert part in outcome.text
    assert "Traceback" not in outcome.text
    assert outcome.status != 0
