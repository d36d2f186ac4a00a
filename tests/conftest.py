"""How the tests share two cores: one thread each, and what is timed runs with nothing beside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch

LOCKS = "LATENTCY_TEST_LOCKS"  # environment variable: a folder

# Two workers with two threads each would wait for one another by spinning, tenfold slower.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
# A whole run inside a worker is a run of its own, in which pytest-benchmark is to be at work.
os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Makes a folder for the locks that the workers, who inherit its name, share."""
    if not hasattr(config, "workerinput"):
        os.environ[LOCKS] = tempfile.mkdtemp(prefix="latentcy-locks-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and (folder := os.environ.pop(LOCKS, None)):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Runs a test that is marked `timed` while no other worker runs any."""
    folder = os.environ.get(LOCKS)
    alone = item.get_closest_marker("timed") is not None
    with _place(Path(folder), alone=alone) if folder else contextlib.nullcontext():
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
