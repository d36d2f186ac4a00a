"""Writing runs into a history, each once, and taking old ones out; under the writer's lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from latentcy.store.history.rows import Environment, RunRows, with_id
from latentcy.store.history.schema import ENVIRONMENT, MEASUREMENT, RUN, SERIES

CHUNK = 100_000  # measurements written in one transaction, so that others have their turn
_IDS = 500  # names in one statement


def take_lock(connection: sa.Connection) -> None:
    """Waits until no other process writes. SQLite has done so when the transaction began."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE run IN SHARE ROW EXCLUSIVE MODE")


def chunks(runs: Iterable[RunRows]) -> Iterator[list[RunRows]]:
    """Runs by the dozen: as many as hold `CHUNK` measurements."""
    gathered: list[RunRows] = []
    size = 0
    for run in runs:
        gathered.append(with_id(run))
        size += len(run.measurements) + 1
        if size >= CHUNK:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def write(connection: sa.Connection, runs: Sequence[RunRows]) -> tuple[str, ...]:
    """Writes the runs that are not there yet; returns their ids."""
    known = _known(connection, [one.run.id for one in runs])
    fresh: dict[str, RunRows] = {}
    for one in runs:
        if one.run.id not in known:
            fresh.setdefault(one.run.id, one)
    if not fresh:
        return ()
    first = _next(connection, RUN)
    series, environments = _SeriesNumbers(connection), _EnvironmentNumbers(connection)
    rows, measurements = [], []
    for number, one in enumerate(fresh.values(), first):
        run = one.run
        place = environments.of(run.environment)
        rows.append((number, run.id, run.started, run.commit, run.branch, place, run.source))
        mine = {}
        for case, metric, value, low, high, unit, status, own in one.measurements:
            key = series.of(case, metric, unit)
            where = None if own is None else environments.of(own)
            mine[key] = (number, key, value, low, high, status, where)
        measurements += sorted(mine.values())
    environments.store()
    series.store()
    _insert(connection, RUN, rows)
    _insert(connection, MEASUREMENT, measurements)
    return tuple(fresh)


def remove(connection: sa.Connection, numbers: Sequence[int]) -> None:
    """Takes out runs with their measurements, and what nothing refers to any longer."""
    for start in range(0, len(numbers), _IDS):
        some = numbers[start : start + _IDS]
        connection.execute(sa.delete(MEASUREMENT).where(MEASUREMENT.c.run.in_(some)))
        connection.execute(sa.delete(RUN).where(RUN.c.number.in_(some)))
    held = sa.exists().where(MEASUREMENT.c.series == SERIES.c.number)
    connection.execute(sa.delete(SERIES).where(~held))
    by_run = sa.select(RUN.c.environment)
    by_measurement = sa.select(MEASUREMENT.c.environment).where(
        MEASUREMENT.c.environment.is_not(None)
    )
    connection.execute(
        sa.delete(ENVIRONMENT)
        .where(ENVIRONMENT.c.number.not_in(by_run))
        .where(ENVIRONMENT.c.number.not_in(by_measurement))
    )


class _SeriesNumbers:
    """Numbers of series; new ones are given out, and stored at the end."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        found = connection.execute(sa.select(SERIES)).all()
        self._numbers = {(case, metric, unit): number for number, case, metric, unit in found}
        self._next = _next(connection, SERIES)
        self._new: list[tuple[int, str, str, str]] = []

    def of(self, case: str, metric: str, unit: str) -> int:
        key = (case, metric, unit)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._next
            self._next += 1
            self._new.append((number, *key))
        return number

    def store(self) -> None:
        _insert(self._connection, SERIES, self._new)


class _EnvironmentNumbers:
    """Numbers of environments, looked up by their content."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._numbers: dict[tuple[str, str], int] = {}
        self._by_object: dict[int, tuple[Environment, int]] = {}
        self._next = _next(connection, ENVIRONMENT)
        self._new: list[tuple[int, str, str]] = []

    def of(self, environment: Environment) -> int:
        seen = self._by_object.get(id(environment))
        if seen is None:  # the object is kept, so that its address is not given to another
            seen = self._by_object[id(environment)] = (environment, self._find(environment))
        return seen[1]

    def store(self) -> None:
        _insert(self._connection, ENVIRONMENT, self._new)

    def _find(self, environment: Environment) -> int:
        key = (environment.fingerprint, environment.text)
        if key not in self._numbers:
            stored = self._connection.execute(
                sa.select(ENVIRONMENT.c.number)
                .where(ENVIRONMENT.c.fingerprint == key[0])
                .where(ENVIRONMENT.c.content == key[1])
            ).scalar()
            if stored is None:
                stored = self._next
                self._next += 1
                self._new.append((stored, *key))
            self._numbers[key] = stored
        return self._numbers[key]


def _known(connection: sa.Connection, ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for start in range(0, len(ids), _IDS):
        some = ids[start : start + _IDS]
        known.update(connection.execute(sa.select(RUN.c.id).where(RUN.c.id.in_(some))).scalars())
    return known


def _next(connection: sa.Connection, table: sa.Table) -> int:
    return (connection.execute(sa.select(sa.func.max(table.c.number))).scalar() or 0) + 1


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple]) -> None:
    """Inserts rows as the driver's own executemany does, the fastest way there is."""
    if not rows:
        return
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    names = ", ".join(column.name for column in table.columns)
    marks = ", ".join([mark] * len(table.columns))
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))
