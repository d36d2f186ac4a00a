"""A history of runs: opened by its address, written by many, read by the report."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from latentcy.store.history import queries
from latentcy.store.history import writer as writing
from latentcy.store.history.address import (
    LOCK_SECONDS,
    WRITES,
    address,
    check_folder,
    engine,
    failures,
    shown,
)
from latentcy.store.history.rows import (
    Environment,
    Measurement,
    Point,
    RunRow,
    RunRows,
    Series,
    SeriesName,
    StoredRun,
)
from latentcy.store.history.schema import SERIES, bring_up_to_date

_NOWHERE = Environment()


@dataclass(frozen=True)
class AddedRuns:
    """Ids of the runs that were written, and how many were there already."""

    written: tuple[str, ...]
    known: int


class History:
    """A history of runs in a database; a context manager.

    Args:
        where: a path to a SQLite file, or an address as SQLAlchemy takes it.
        must_exist: refuse to make a new SQLite file.
        run_file: results on disk that an error tells how to import later.
        lock_seconds: how long to wait for another process that writes.

    Raises:
        LatentcyError: it cannot be opened, here and from every method, or is of a newer schema.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        must_exist: bool = False,
        run_file: Path | None = None,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._url = address(str(where))
        self.shown = shown(self._url)
        self._later = _later(self.shown, run_file, reading=must_exist)
        check_folder(self._url, must_exist=must_exist, later=self._later)
        self._engine = engine(self._url, lock_seconds=lock_seconds)
        try:
            with failures(self._url, self._later):
                bring_up_to_date(self._engine, self.shown)
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> History:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the database go."""
        self._engine.dispose()

    def add(self, runs: Iterable[RunRows]) -> AddedRuns:
        """Writes runs; one that is there already, by its id, changes nothing.

        About 100000 measurements go into one transaction, a run never into two. What an interrupted
        import has not written is written when it is done again.
        """
        written: list[str] = []
        count = 0
        for some in writing.chunks(runs):
            count += len(some)
            with failures(self._url, self._later), self._writing() as connection:
                written += writing.write(connection, some)
        return AddedRuns(tuple(written), count - len(written))

    def latest(self, *, branch: str | None = None) -> StoredRun | None:
        """The run that started last; None in an empty history."""
        found = self.runs(last=1, branch=branch)
        return found[0] if found else None

    def runs(self, *, last: int | None = None, branch: str | None = None) -> tuple[StoredRun, ...]:
        """The last runs, or all, oldest first."""
        with self._reading() as connection:
            found = connection.execute(queries.runs(last, branch)).all()
            environments = _environments(connection)
        return tuple(_stored_run(row, environments) for row in found)

    def cases(self) -> tuple[str, ...]:
        """Every case, in alphabetical order."""
        with self._reading() as connection:
            return tuple(connection.execute(queries.cases()).scalars())

    def names(self) -> tuple[SeriesName, ...]:
        """Every series, case by case."""
        with self._reading() as connection:
            found = connection.execute(queries.series_names()).all()
        return tuple(SeriesName(case, metric, unit, runs) for case, metric, unit, runs in found)

    def series(
        self, case: str, metric: str, *, last: int | None = None, branch: str | None = None
    ) -> Series:
        """One case and metric among the last runs; without points where there are none.

        Where the unit has changed, the newest one's numbers.
        """
        found = self.all_series(case=case, metric=metric, last=last, branch=branch)
        empty = Series(case, metric, "", ())
        return max(found, key=lambda one: one.points[-1].started, default=empty)

    def all_series(
        self,
        *,
        case: str | None = None,
        metric: str | None = None,
        last: int | None = None,
        branch: str | None = None,
    ) -> tuple[Series, ...]:
        """Every series with a number among the last runs, each oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                queries.points(case=case, metric=metric, last=last, branch=branch)
            ).all()
            environments = _environments(connection)
            named = {row[0]: row[1:] for row in connection.execute(sa.select(SERIES)).all()}
            runs = connection.execute(queries.run_rows(last, branch)).all()
        order = {row[0]: place for place, row in enumerate(runs)}
        members: dict[int, list[tuple[int, Any]]] = {}
        for row in rows:
            members.setdefault(row[1], []).append((order[row[0]], row))
        found = []
        for number in sorted(members, key=named.__getitem__):
            mine = sorted(members[number], key=lambda one: one[0])
            points = tuple(_point(runs[place], row, environments) for place, row in mine)
            of_case, of_metric, unit = named[number]
            found.append(Series(of_case, of_metric, unit, points))
        return tuple(found)

    def read(self) -> Iterator[RunRows]:
        """Every run with its measurements, oldest first, as it was when the reading began."""
        with self._reading() as connection:
            environments = _environments(connection)
            for found in connection.execute(queries.runs()).all():
                run = _stored_run(found, environments).run
                rows = connection.execute(queries.whole_run(), {"run_number": found[0]})
                yield RunRows(run, tuple(_measurement(row, environments) for row in rows))

    def prune(
        self, *, keep: int | None = None, before: str | None = None, dry: bool = False
    ) -> tuple[StoredRun, ...]:
        """Takes out every run but the newest `keep`, and every one that started before a time.

        Args:
            keep: number of runs, None for all.
            before: UTC, as in `RunRow.started`; None for no limit.
            dry: take nothing out.

        Returns:
            What was, or would be, taken out, oldest first.
        """
        with failures(self._url, self._later), self._writing() as connection:
            found = connection.execute(queries.runs()).all()
            environments = _environments(connection)
            surplus = len(found) - keep if keep is not None else 0
            gone = [
                row
                for place, row in enumerate(found)
                if place < surplus or (before is not None and row.started < before)
            ]
            if not dry:
                writing.remove(connection, [row[0] for row in gone])
        return tuple(_stored_run(row, environments) for row in gone)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        # One state of the history for all statements; SQLite's transactions always have that.
        same = self._url.get_backend_name() == "postgresql"
        options = {"isolation_level": "REPEATABLE READ"} if same else {}
        with failures(self._url, self._later), self._engine.connect() as connection:
            yield connection.execution_options(**options)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        options = {WRITES: True}
        with self._engine.connect().execution_options(**options) as connection, connection.begin():
            writing.take_lock(connection)
            yield connection


def _later(shown: str, run_file: Path | None, *, reading: bool) -> str:
    if reading and run_file is None:
        return "check that it can be reached and is not in use, then try again"
    file = run_file or "RUN.json"
    return (
        "the results are on disk; record them when it can be reached: "
        f"python -m latentcy history import {file} --history {shown}"
    )


def _environments(connection: sa.Connection) -> dict[int, Environment]:
    found = connection.execute(queries.environments()).all()
    return {number: Environment(words, json.loads(content)) for number, words, content in found}


def _stored_run(row: Any, environments: dict[int, Environment]) -> StoredRun:
    place = environments.get(row.environment, _NOWHERE)
    run = RunRow(row.id, row.started, row.commit_id, row.branch, place, row.source)
    return StoredRun(run, row.measurements)


def _point(run: Any, row: Any, environments: dict[int, Environment]) -> Point:
    _, name, started, commit, branch, place, _ = run
    _, _, value, low, high, status, own = row
    number = math.nan if value is None else value
    where = environments.get(place if own is None else own, _NOWHERE)
    return Point(name, started, commit, branch, number, low, high, status, where)


def _measurement(row: Any, environments: dict[int, Environment]) -> Measurement:
    _, case, metric, value, low, high, unit, status, place = row
    own = None if place is None else environments.get(place)
    return Measurement(case, metric, value, low, high, unit, status, own)
