"""Runs the suite as a user does, in this process, against this repository."""

from __future__ import annotations

import atexit
import contextlib
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from latentcy.suite.fork_server import ForkServer
from latentcy.suite.isolation import run_isolated

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a run left: exit status, everything printed, the results folder."""

    status: int
    text: str
    results: Path


# These have tests of their own; a run that is about something else takes a third of the time
# without them.
_SHORTER = (
    "--deselect=perf_tests/test_invariants.py",
    "--deselect=perf_tests/test_black_images.py::test_an_overflow_would_be_seen",
    "--deselect=perf_tests/test_claims.py",
)

_PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "--benchmark")
_PYTEST += ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # imported before the fork


def short_variants(folder: Path, more: str = "") -> str:
    """Options for two variants of a few steps and `more` of them, Python that adds to VARIANTS."""
    file = folder / "short.py"
    file.write_text(
        "from latentcy import Variant\n"
        "SHORT = {'reference': 'short', 'ssim_reference': 'short', 'steps': 4}\n"
        "VARIANTS = [Variant('short', 'Four steps.', **SHORT),\n"
        "            Variant('other', 'The same.', **SHORT)]\n" + more
    )
    return f"--variants={file}"


def benchmark(pytester: pytest.Pytester, *arguments: str) -> Outcome:
    """`pytest --benchmark ARGUMENTS`, with results and baselines in a folder of its own."""
    results = pytester.path / "results"
    given = " ".join(arguments)
    places = [f"--results={results}"] if "--results" not in given else []
    if "--baselines" not in given:
        places.append(f"--baselines={_made(pytester.path / 'baselines')}")
    places += _shorter(arguments)
    with contextlib.chdir(ROOT):
        ran = pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "--benchmark", *places, *arguments
        )
    text = ran.stdout.str() + ran.stderr.str()
    return Outcome(int(ran.ret), text, results)


def benchmark_process(folder: Path, *arguments: str) -> Outcome:
    """The same in a process of its own, for what must not touch this one."""
    log = folder / "printed.log"
    places = [f"--results={folder / 'results'}", f"--baselines={_made(folder / 'baselines')}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", " ".join(_shorter(arguments)))  # of its own processes too
        ended = run_isolated(
            [*_PYTEST, *places, *arguments],
            folder=ROOT,
            log=log,
            limit_seconds=0,
            server=_server(),
        )
    assert ended.status is not None
    return Outcome(ended.status, log.read_text(encoding="utf-8"), folder / "results")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def _server() -> ForkServer:
    """One for all runs of this process."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def _shorter(arguments: tuple[str, ...]) -> list[str]:
    planned = [] if any(one.startswith("--minutes") for one in arguments) else ["--minutes=0"]
    chosen = any(one.startswith(("-k", "--inject", "perf_tests")) for one in arguments)
    return planned if chosen else [*planned, *_SHORTER]


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
