"""How the tests share two cores: one thread each, and what is timed runs with nothing beside it."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

LOCKS = pytest.StashKey[Path]()
SHARED = "latentcy_locks"  # what a worker is told the folder by


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One thread for a test process; a run of the suite, which reads this too, keeps its own.

    Two workers with two threads each would wait for one another by spinning, tenfold slower.
    """
    if config.option.benchmark:
        return
    import torch  # not for a run of the suite, which is to start without this file

    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
    # A whole run inside a worker is a run of its own, in which pytest-benchmark is to be at work.
    os.environ.pop("PYTEST_XDIST_WORKER", None)
    config.option.loadscopereorder = False  # xdist's: the order below is the one to keep
    if told := getattr(config, "workerinput", {}).get(SHARED):
        config.stash[LOCKS] = Path(told)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells each worker the folder of the locks; one that a test starts is told nothing."""
    if LOCKS not in node.config.stash:
        node.config.stash[LOCKS] = Path(tempfile.mkdtemp(prefix="latentcy-locks-"))
    node.workerinput[SHARED] = str(node.config.stash[LOCKS])


def pytest_unconfigure(config: pytest.Config) -> None:
    if LOCKS in config.stash and not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[LOCKS], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, so that no worker ends long after the other."""
    items.sort(key=lambda item: _rank(item.path.stem))


def _rank(file: str) -> int:
    longest = ("catalogue", "pairs", "isolation", "against", "gates", "bisection", "ci_examples")
    for rank, name in enumerate(longest):
        if file.startswith(f"test_{name}"):
            return rank
    return len(longest)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes what was imported and collected out of every later collection of garbage.

    Each run of the suite inside a test collects several times, half a second each without this.
    """
    if not session.config.option.benchmark:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Runs a test that is marked `timed` while no other worker runs any."""
    folder = item.config.stash.get(LOCKS, None)
    alone = item.get_closest_marker("timed") is not None
    with _place(folder, alone=alone) if folder else contextlib.nullcontext():
        return (yield)


@contextlib.contextmanager
def _place(folder: Path, *, alone: bool) -> Iterator[None]:
    """A readers-writer lock among the workers; who waits to be alone is not overtaken."""
    with (folder / "turn").open("w") as turn, (folder / "lock").open("w") as lock:
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
