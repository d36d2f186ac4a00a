"""How the tests share two cores: one thread each, and what is timed runs with nothing beside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch

# Two workers with two threads each would wait for one another by spinning, tenfold slower.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
# A whole run inside a worker is a run of its own, in which pytest-benchmark is to be at work.
os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Runs a test that is marked `timed` while no other worker runs any."""
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    alone = item.get_closest_marker("timed") is not None
    with _place(run, alone=alone) if run else contextlib.nullcontext():
        return (yield)


@contextlib.contextmanager
def _place(run: str, *, alone: bool) -> Iterator[None]:
    """A readers-writer lock among a run's workers; who waits to be alone is not overtaken."""
    folder = Path(tempfile.gettempdir())
    with (
        (folder / f"latentcy-{run}.turn").open("w") as turn,
        (folder / f"latentcy-{run}.lock").open("w") as lock,
    ):
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    run = getattr(session.config, "workerinput", {}).get("testrunuid")
    for name in ("turn", "lock") if run else ():
        (Path(tempfile.gettempdir()) / f"latentcy-{run}.{name}").unlink(missing_ok=True)
