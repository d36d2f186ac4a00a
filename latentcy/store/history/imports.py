"""Runs read from files: our `run.json`, pytest-benchmark's JSON of any age, an exported history."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latentcy.core.errors import LatentcyError
from latentcy.store.history import export_file as exports
from latentcy.store.history.measurements import (
    finite,
    machine_environment,
    median_bounds,
    record_measurements,
    run_environment,
    texts,
)
from latentcy.store.history.rows import LATENCY, Measurement, RunRow, RunRows, with_id
from latentcy.store.results import READABLE

EXPECTED = (
    "a run.json or its folder, pytest-benchmark's JSON (--benchmark-json, --benchmark-autosave), "
    "or what `python -m latentcy history export` wrote"
)


def read_runs(path: Path) -> Iterator[RunRows]:
    """The runs in a file, or in the run.json of a results folder.

    Raises LatentcyError where it cannot be read, is damaged, or is something else; an exported
    history is read line by line, so that this may be raised late.
    """
    path = path / "run.json" if path.is_dir() else path
    try:
        if exports.is_export(path):
            yield from exports.read(path)
            return
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LatentcyError(
            found=f"{path}, which cannot be read ({error.strerror or error})",
            expected=EXPECTED,
            do="check the path",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _foreign(path, f"no JSON ({error})") from error
    try:
        yield _run(path, data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _foreign(path, f"damaged ({type(error).__name__}: {error})") from error


def _run(path: Path, data: Any) -> RunRows:
    if isinstance(data, dict) and isinstance(data.get("benchmarks"), list):
        return _benchmark_run(path, data)
    if isinstance(data, dict) and isinstance(data.get("records"), list) and "schema" in data:
        return _latentcy_run(path, data)
    what = f"an object with {', '.join(map(str, list(data)[:4]))}" if isinstance(data, dict) else ""
    raise _foreign(path, f"something else ({what or type(data).__name__})")


def _latentcy_run(path: Path, data: Mapping[str, Any]) -> RunRows:
    """A `run.json`; a file without a start time is as old as it says on disk."""
    if data["schema"] not in READABLE:
        raise LatentcyError(
            found=f"{path}, a run of schema {data['schema']!r}",
            expected=f"schema {max(READABLE)} at most, which is what this latentcy knows",
            do="import it with the latentcy that wrote it",
        )
    if not data["records"]:
        raise _foreign(path, "a run without a record: no case was measured")
    about = data.get("about") or {}  # none in a file of schema 1
    records = [one for one in data["records"] if one.get("skipped") is None]
    environment = run_environment(texts(data.get("environment") or {}), records)
    run = RunRow(
        id=str(about.get("id") or ""),
        started=_utc(about.get("started")),
        commit=str(about.get("commit") or ""),
        branch=str(about.get("branch") or ""),
        environment=environment,
        source=path.name,
    )
    measurements = [one for record in records for one in record_measurements(record, environment)]
    return _complete(path, RunRows(run, tuple(measurements)))


def _benchmark_run(path: Path, data: Mapping[str, Any]) -> RunRows:
    """pytest-benchmark's JSON: our records where there are any, plain benchmarks else."""
    machine = data.get("machine_info")
    machine = machine if isinstance(machine, dict) else {}
    commit = data.get("commit_info")
    commit = commit if isinstance(commit, dict) else {}
    ours = data.get("latentcy")
    ours = ours if isinstance(ours, dict) else {}
    about = ours.get("about") or {}
    records = {one["case"]: one for one in _records(data, ours) if one.get("skipped") is None}
    environment = machine_environment(machine)
    if records:
        values = texts(machine.get("latentcy") or {}) or dict(environment.values)
        environment = run_environment(values, list(records.values()))
    run = RunRow(
        id=str(about.get("id") or ""),
        started=_utc(about.get("started") or data.get("datetime") or commit.get("time")),
        commit=str(about.get("commit") or commit.get("id") or ""),
        branch=str(about.get("branch") or commit.get("branch") or ""),
        environment=environment,
        source=path.name,
    )
    found = [one for each in records.values() for one in record_measurements(each, environment)]
    for benchmark in data["benchmarks"]:
        if "case" not in (benchmark.get("extra_info") or {}):
            found += _plain(benchmark)
    return _complete(path, RunRows(run, tuple(found)))


def _records(data: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if isinstance(ours.get("records"), list):
        return ours["records"]
    extras = [one.get("extra_info") or {} for one in data["benchmarks"]]
    return [one for one in extras if "case" in one and "device" in one]


def _plain(benchmark: Mapping[str, Any]) -> list[Measurement]:
    """The median of a plain benchmark; the mean in a file that has no median."""
    numbers = benchmark.get("stats") or {}
    times = [one for one in map(finite, numbers.get("data") or ()) if one is not None]
    value = finite(numbers.get("median"))
    if value is None and times:
        value = statistics.median(times)
    if value is None:
        value = finite(numbers.get("mean"))
    case = str(benchmark.get("fullname") or benchmark["name"])
    return [Measurement(case, LATENCY, value, *median_bounds(times), "s")] if value else []


def _complete(path: Path, rows: RunRows) -> RunRows:
    """With an id, and with a start time where the file told none: the file's own age."""
    rows = with_id(rows)
    if rows.run.started:
        return rows
    age = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return replace(rows, run=replace(rows.run, started=_utc(age.isoformat())))


def _utc(text: Any) -> str:
    """UTC with six decimals, so that texts sort as times do; "" for none. Raises ValueError."""
    if not text:
        return ""
    when = datetime.fromisoformat(str(text))
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _foreign(path: Path, what: str) -> LatentcyError:
    return LatentcyError(found=f"{path}, which is {what}", expected=EXPECTED, do="name such a file")
