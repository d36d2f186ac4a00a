"""A history as a file: JSON lines, a run a line, or CSV, a measurement a line; and back."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from latentcy.core.errors import LatentcyError
from latentcy.store.history.rows import Environment, Measurement, RunRow, RunRows, with_id

# 1: the first.
SCHEMA = 1

COLUMNS = (
    "run",
    "started",
    "commit",
    "branch",
    "source",
    "run fingerprint",
    "run environment",
    "case",
    "metric",
    "value",
    "low",
    "high",
    "unit",
    "status",
    "fingerprint",
    "environment",
)

SAME = "="  # an environment that is the one of the line before that told one

_EXPECTED = f"a history exported by latentcy, of schema {SCHEMA}"


def write_lines(runs: Iterable[RunRows], file: IO[str]) -> int:
    """Writes JSON lines, the first one the schema; returns the number of runs."""
    file.write(json.dumps({"latentcy_history": SCHEMA}) + "\n")
    count = 0
    for count, rows in enumerate(runs, 1):  # noqa: B007
        file.write(json.dumps(_to_json(rows)) + "\n")
    return count


def write_csv(runs: Iterable[RunRows], file: IO[str]) -> int:
    """Writes CSV; a run's environment stands in the first of its lines only."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for count, rows in enumerate(runs, 1):  # noqa: B007
        writer.writerows(_to_csv(rows))
    return count


def is_export(path: Path) -> bool:
    """Does the file begin as one of ours? Raises OSError where it cannot be read."""
    with path.open(encoding="utf-8", errors="replace") as file:
        beginning = file.readline(1000)
    return beginning.startswith(('{"latentcy_history"', ",".join(COLUMNS[:4])))


def read(path: Path) -> Iterator[RunRows]:
    """Runs of an exported file.

    Raises LatentcyError for one that is damaged or of another schema, at the line where it shows.
    """
    place = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = _csv_runs if file.read(1) != "{" else _line_runs
            file.seek(0)
            for place, rows in reader(file):  # noqa: B007
                yield rows
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, csv.Error) as error:
        raise LatentcyError(
            found=f"{path}, damaged after line {place} ({type(error).__name__}: {error})",
            expected=_EXPECTED,
            do="export the history again; the runs before that line are imported",
        ) from error


def _to_json(rows: RunRows) -> dict[str, Any]:
    run = rows.run
    places: list[Environment] = [run.environment]
    measurements = []
    for one in rows.measurements:
        own = one.environment
        if own is not None and own not in places:
            places.append(own)
        measurements.append([*one[:7], None if own is None else places.index(own)])
    return {
        "run": run.id,
        "started": run.started,
        "commit": run.commit,
        "branch": run.branch,
        "source": run.source,
        "environments": [[one.fingerprint, dict(one.values)] for one in places],
        "measurements": measurements,
    }


def _line_runs(file: IO[str]) -> Iterator[tuple[int, RunRows]]:
    _check(json.loads(file.readline())["latentcy_history"])
    for number, line in enumerate(file, 2):
        if line.strip():
            yield number, _from_json(json.loads(line))


def _from_json(data: dict[str, Any]) -> RunRows:
    places = [Environment(words, dict(values)) for words, values in data["environments"]]
    measurements = []
    for case, metric, value, low, high, unit, status, place in data["measurements"]:
        numbers = (_number(value), _number(low), _number(high))
        own = None if place is None else places[place]
        measurements.append(Measurement(str(case), str(metric), *numbers, unit, status, own))
    run = RunRow(
        str(data["run"]), str(data["started"]), str(data["commit"]), str(data["branch"]),
        places[0], str(data["source"]),
    )  # fmt: skip
    return with_id(RunRows(run, tuple(measurements)))


def _to_csv(rows: RunRows) -> Iterator[Sequence[Any]]:
    run = rows.run
    head = [run.id, run.started, run.commit, run.branch, run.source]
    place = [run.environment.fingerprint, run.environment.text]
    told: Environment | None = None
    for one in rows.measurements or (None,):
        own = one.environment if one is not None else None
        numbers = list(one[:7]) if one is not None else [""] * 7
        where = ["", ""] if own is None else [own.fingerprint, SAME if own == told else own.text]
        told = own if own is not None else told
        yield [*head, *place, *numbers, *where]
        head, place = [run.id, "", "", "", ""], ["", ""]


def _csv_runs(file: IO[str]) -> Iterator[tuple[int, RunRows]]:
    reader = csv.reader(file)
    if tuple(next(reader)) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    run: RunRow | None = None
    measurements: list[Measurement] = []
    told: Environment | None = None
    for line in reader:
        if len(line) != len(COLUMNS):
            raise ValueError(f"{len(line)} columns")
        if run is None or line[0] != run.id:
            if run is not None:
                yield reader.line_num - 1, RunRows(run, tuple(measurements))
            place = Environment(line[5], json.loads(line[6]))
            run_id, started, commit, branch, command = line[:5]
            run = RunRow(run_id, started, commit, branch, place, command)
            measurements, told = [], None
        if line[7]:
            if line[15] not in ("", SAME):
                told = Environment(line[14], json.loads(line[15]))
            own = told if line[15] else None
            value, low, high = (_text_number(text) for text in line[9:12])
            measurements.append(
                Measurement(line[7], line[8], value, low, high, line[12], line[13], own)
            )
    if run is not None:
        yield reader.line_num, RunRows(run, tuple(measurements))


def _text_number(text: str) -> float | None:
    return None if text == "" else _number(float(text))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} where a number should be")
    return float(value) if math.isfinite(value) else None


def _check(schema: Any) -> None:
    if schema != SCHEMA:
        raise ValueError(f"schema {schema!r}")


WRITERS: dict[str, Callable[[Iterable[RunRows], IO[str]], int]] = {
    "jsonl": write_lines,
    "csv": write_csv,
}
