"""`python -m latentcy.studies.history_scale FILE`: how fast a history of a million numbers is."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from latentcy.core.errors import LatentcyError
from latentcy.store.history.rows import METRICS, Environment, Measurement, RunRow, RunRows
from latentcy.store.history.store import History

NUMBERS = 1_000_000
CASES = 40
METRICS_OF_A_CASE = METRICS[:5]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fills a new history and prints a line a query, in seconds of wall time."""
    parser = argparse.ArgumentParser(prog="python -m latentcy.studies.history_scale")
    parser.add_argument("history", metavar="FILE", help="a history that holds nothing yet")
    asked = parser.parse_args(arguments)
    try:
        with History(asked.history) as history:
            if history.latest() is not None:
                raise LatentcyError(
                    found=f"{history.shown}, which holds runs",
                    expected="a history that holds nothing yet",
                    do="name another",
                )
            _measure(history)
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def made_runs(count: int) -> Iterator[RunRows]:
    """Runs of 200 numbers each, a second apart."""
    rng = random.Random(0)
    machine = Environment("device: some; threads: 1", {"torch": "2.13.0"})
    for number in range(count):
        hours, seconds = divmod(number, 3600)
        started = f"2026-01-01T{hours:02}:{seconds // 60:02}:{seconds % 60:02}.000000Z"
        numbers = tuple(
            Measurement(f"model/group/variant-{case}", metric, rng.random(), 0.0, 1.0)
            for case in range(CASES)
            for metric in METRICS_OF_A_CASE
        )
        yield RunRows(RunRow(f"run-{number}", started, "c", "main", machine), numbers)


def _measure(history: History) -> None:
    runs = list(made_runs(NUMBERS // (CASES * len(METRICS_OF_A_CASE)) + 1))
    case, metric = "model/group/variant-7", METRICS[0]
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("write the million", lambda: history.add(runs[:-1])),
        ("add one more run", lambda: history.add(runs[-1:])),
        ("the latest run", history.latest),
        ("the last 200 runs", lambda: history.runs(last=200)),
        ("all runs, with their numbers counted", history.runs),
        ("list of cases", history.cases),
        ("every series with its number of runs", history.names),
        ("one series, all runs", lambda: history.series(case, metric)),
        ("one series, the last 200 runs", lambda: history.series(case, metric, last=200)),
        ("all series, the last 200 runs", lambda: history.all_series(last=200)),
        ("all series, the last 500 runs", lambda: history.all_series(last=500)),
    )
    for name, step in steps:
        start = time.perf_counter()
        step()
        print(f"{name:40} {time.perf_counter() - start:.3f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
