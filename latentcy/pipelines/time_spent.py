"""Where a process's time went: loading, and generating inside the pipelines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass
class TimeSpent:
    """Seconds, added up since the process began."""

    loading: float = 0.0
    generating: float = 0.0

    def since(self, before: TimeSpent) -> TimeSpent:
        """What was added after `before` was taken."""
        return TimeSpent(self.loading - before.loading, self.generating - before.generating)


_total = TimeSpent()


def so_far() -> TimeSpent:
    """A copy of what has been spent until now."""
    return replace(_total)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Counts the block as loading."""
    started = time.perf_counter()
    try:
        yield
    finally:
        _total.loading += time.perf_counter() - started


def generated(seconds: float) -> None:
    """Counts seconds spent inside a pipeline, here or in another process that this one awaits."""
    _total.generating += seconds
