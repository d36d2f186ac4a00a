"""The tables of a history, and how an older history becomes one of today.

Numbers of runs, series and environments are given out under the writer's lock, so that both
databases take the same statements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from latentcy.core.errors import LatentcyError
from latentcy.store.history.address import WRITES

tables = sa.MetaData()

VERSION = sa.Table("latentcy_schema", tables, sa.Column("version", sa.Integer, nullable=False))

ENVIRONMENT = sa.Table(
    "environment",
    tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)

RUN = sa.Table(
    "run",
    tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("environment", sa.Integer, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
)

SERIES = sa.Table(
    "series",
    tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("case_id", sa.Text, nullable=False),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
)

# The key begins with the run: runs are written at the end, the last ones are read together, and a
# series is one look into each run.
MEASUREMENT = sa.Table(
    "measurement",
    tables,
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("series", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Double),
    sa.Column("low", sa.Double),
    sa.Column("high", sa.Double),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("environment", sa.Integer),
)


def _first(connection: sa.Connection) -> None:
    """Version 1: runs, series, measurements and environments."""
    sqlite = connection.dialect.name == "sqlite"
    together = " WITHOUT ROWID" if sqlite else ""  # the key is the table: a run lies in one piece
    for statement in (
        "CREATE TABLE environment (number INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, "
        "content TEXT NOT NULL)",
        "CREATE TABLE run (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
        "started TEXT NOT NULL, commit_id TEXT NOT NULL, branch TEXT NOT NULL, "
        "environment INTEGER NOT NULL)",
        "CREATE INDEX run_by_start ON run (started, number)",
        "CREATE TABLE series (number INTEGER PRIMARY KEY, case_id TEXT NOT NULL, "
        "metric TEXT NOT NULL, unit TEXT NOT NULL, UNIQUE (case_id, metric, unit))",
        "CREATE TABLE measurement (run INTEGER NOT NULL, series INTEGER NOT NULL, "
        "value DOUBLE PRECISION, low DOUBLE PRECISION, high DOUBLE PRECISION, "
        f"status TEXT NOT NULL, environment INTEGER, PRIMARY KEY (run, series)){together}",
    ):
        connection.exec_driver_sql(statement)


def _second(connection: sa.Connection) -> None:
    """Version 2: what a run was read from."""
    connection.exec_driver_sql("ALTER TABLE run ADD COLUMN source TEXT NOT NULL DEFAULT ''")


# Number n makes version n of version n - 1.
MIGRATIONS: Sequence[Callable[[sa.Connection], None]] = (_first, _second)


def bring_up_to_date(
    engine: sa.Engine,
    shown: str,
    migrations: Sequence[Callable[[sa.Connection], None]] = MIGRATIONS,
) -> None:
    """Makes the tables, or migrates them, in one transaction: all of it or nothing.

    Raises LatentcyError for a history of a newer schema.
    """
    with engine.connect() as connection:
        version = _version(connection)
    if version != len(migrations):
        with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                # One process migrates, the others wait here; the number names this project's lock.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(5132019)")
            version = _version(connection)
            if version < len(migrations):
                _migrate(connection, version, migrations)
    if version > len(migrations):
        raise LatentcyError(
            found=f"{shown}, a history of schema {version}",
            expected=f"schema {len(migrations)} at most, which is what this latentcy knows",
            do="update latentcy",
        )


def _version(connection: sa.Connection) -> int:
    """0 for an empty database."""
    if not sa.inspect(connection).has_table(VERSION.name):
        return 0
    return int(connection.execute(sa.select(VERSION.c.version)).scalar() or 0)


def _migrate(
    connection: sa.Connection, version: int, migrations: Sequence[Callable[[sa.Connection], None]]
) -> None:
    if version == 0:
        VERSION.create(connection, checkfirst=True)
        connection.execute(sa.delete(VERSION))
        connection.execute(sa.insert(VERSION).values(version=0))
    for step in migrations[version:]:
        step(connection)
    connection.execute(sa.update(VERSION).values(version=len(migrations)))
