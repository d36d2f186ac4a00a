"""Where a history is: a file or an address, opened; what goes wrong there, in words."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event, exc

from latentcy.core.errors import LatentcyError

LOCK_SECONDS = 30.0  # how long a writer waits for another

EXPECTED = "a path to a SQLite file, sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"

# Execution option of a connection that writes: SQLite takes its lock when the transaction begins,
# since a reader that becomes a writer half-way can only fail.
WRITES = "latentcy_writes"


def address(text: str) -> sa.URL:
    """The address of a history given as a path or a URL.

    Raises LatentcyError for what is neither, or names a database that is not supported.
    """
    if "://" not in text:
        if not text.strip():
            raise LatentcyError(found="an empty name", expected=EXPECTED, do="name a history")
        return sa.URL.create("sqlite", database=text)
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError) as error:
        raise LatentcyError(
            found=f"{text.partition('://')[0]}://..., which is no address ({type(error).__name__})",
            expected=EXPECTED,
            do="correct it; special characters in a password are written as %xx",
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise LatentcyError(
            found=f"{shown(url)}, a database of the kind {url.get_backend_name()}",
            expected=EXPECTED,
            do="use one of these",
        )
    return url


def shown(url: sa.URL) -> str:
    """The address for a message: a SQLite file's path, or the URL without its password."""
    if url.get_backend_name() == "sqlite" and url.database:
        return url.database
    return url.render_as_string(hide_password=True)


def engine(url: sa.URL, *, lock_seconds: float = LOCK_SECONDS) -> sa.Engine:
    """Connections to the database; none is made yet.

    Raises LatentcyError where the driver is not installed.
    """
    try:
        if url.get_backend_name() == "sqlite":
            made = sa.create_engine(url, connect_args={"timeout": lock_seconds})
            event.listen(made, "connect", lambda dbapi, _: _prepare(dbapi, lock_seconds))
            event.listen(made, "begin", _begin)
            return made
        wait = {"connect_timeout": 10, "options": f"-c lock_timeout={int(lock_seconds * 1000)}"}
        return sa.create_engine(url, connect_args={**wait, **url.query})
    except (ModuleNotFoundError, exc.NoSuchModuleError) as error:
        raise LatentcyError(
            found=f"{shown(url)}, whose driver is not installed ({error})",
            expected="the Python package that speaks to this database",
            do="pip install 'psycopg[binary]', or name the driver that you have in the address",
        ) from error


@contextlib.contextmanager
def failures(url: sa.URL, later: str) -> Iterator[None]:
    """Turns what the database raises into a LatentcyError; `later` says what to do then."""
    try:
        yield
    except (exc.DBAPIError, sqlite3.Error) as error:
        raise LatentcyError(
            found=f"{shown(url)}: {_cause(error)}",
            expected="a history that can be reached, read and written",
            do=later,
        ) from error
    except (exc.TimeoutError, exc.SQLAlchemyError) as error:
        raise LatentcyError(
            found=f"{shown(url)}: {type(error).__name__}: {_first_line(error)}",
            expected="a history as latentcy writes it",
            do=later,
        ) from error


def check_folder(url: sa.URL, *, must_exist: bool, later: str) -> None:
    """Makes a SQLite file's folder; LatentcyError where the file has to exist and does not."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    if must_exist and not path.exists():
        raise LatentcyError(
            found=f"no history at {path}",
            expected="a history that runs were recorded in",
            do="check the path, or record a run first: pytest --benchmark --history PATH",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LatentcyError(
            found=f"{path.parent}, which cannot be made ({error.strerror or error})",
            expected="a folder for the history that this user may write to",
            do=later,
        ) from error


def _prepare(dbapi: sqlite3.Connection, lock_seconds: float) -> None:
    """A SQLite connection that waits for its turn and leaves transactions to us."""
    dbapi.isolation_level = None
    cursor = dbapi.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA cache_size=-65536")
    until = time.monotonic() + lock_seconds
    while True:
        try:
            # Readers go on while one writes. Changing it needs the file alone, and SQLite does
            # not wait for that.
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.05)
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _cause(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    text = _first_line(original)
    if "locked" in text:
        return f"another process holds it locked ({text})"
    if "not a database" in text or "malformed" in text:
        return f"no SQLite database, or a damaged one ({text})"
    if "readonly" in text or "read-only" in text:
        return f"it may only be read ({text})"
    return text


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
