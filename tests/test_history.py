"""The history: every run once, whoever writes; found again quickly; never a traceback."""

from __future__ import annotations

import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from latentcy.commands.history import add_commands
from latentcy.core.errors import LatentcyError
from latentcy.store.history import export_file as exports
from latentcy.store.history import queries, schema
from latentcy.store.history import text as show
from latentcy.store.history.address import address, engine
from latentcy.store.history.imports import read_runs
from latentcy.store.history.rows import (
    LATENCY,
    SSIM,
    Environment,
    Measurement,
    RunRow,
    RunRows,
    with_id,
)
from latentcy.store.history.store import History

REPOSITORY = Path(__file__).parents[1]
HERE = Environment("device: A; threads: 1", {"torch": "2.13.0", "naïve": 'ü, "q"\n'})


def run(number: int, *, cases: int = 2, branch: str = "main", **values: object) -> RunRows:
    """A run with two numbers of each case; it starts `number` seconds after the first."""
    minutes, seconds = divmod(number, 60)
    started = f"2026-01-01T{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.000000Z"
    row = RunRow(f"r{number}", started, f"c{number}", branch, HERE, "run.json")
    numbers = [
        Measurement(f"m/g/v{case}", metric, 1.0 + number + case, 0.5, None, unit, "passed")
        for case in range(cases)
        for metric, unit in ((LATENCY, "s"), (SSIM, ""))
    ]
    return RunRows(row, tuple(numbers))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that is ours alone, on this machine."""
    pytest.importorskip("psycopg", reason="psycopg, PostgreSQL's driver, is not installed")
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server (initdb, pg_ctl) is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    user = _not_root(folder)
    place = {"cwd": folder, "user": user, "check": True, "timeout": 60, "env": {"LC_ALL": "C"}}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data, log = str(folder / "data"), str(folder / "log")
    subprocess.run(
        [programs / "initdb", "-D", data, "-A", "trust", "-U", "tester", "-N", "-E", "UTF8"],
        **place,
        **quiet,
    )
    # A socket in a folder of our own and no port: no other run of the tests is in the way.
    options = f"-c listen_addresses='' -c fsync=off -k {folder}"
    control = [programs / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", log, "-o", options, "start"], **place, **quiet)
    try:
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **{**place, "check": False}, **quiet)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty history in each of the databases."""
    if request.param == "sqlite":
        return str(tmp_path / "history.db")
    url = request.getfixturevalue("postgres")
    made = engine(address(url))
    with made.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    made.dispose()
    return url


def test_what_was_written_is_read_again(where: str) -> None:
    there = Environment("device: B", {"torch": "2.12.0"})
    odd = (Measurement("m/g/x", SSIM, None, None, None, "", "failed", there),)
    written = [run(0), run(1), RunRows(run(2).run, odd), RunRows(run(3).run, ())]
    with History(where) as history:
        added = history.add(written)
        found = list(history.read())
    assert (added.written, added.known) == (("r0", "r1", "r2", "r3"), 0)
    assert [one.run for one in found] == [one.run for one in written]
    assert [sorted(one.measurements) for one in found] == [
        sorted(one.measurements) for one in written
    ]


def test_a_run_is_written_once_however_often_it_comes(where: str) -> None:
    with History(where) as history:
        history.add([run(0)])
        again = history.add([run(0), run(0), run(1), run(1)])
        assert (again.written, again.known) == (("r1",), 3)
        assert [one.measurements for one in history.runs()] == [4, 4]


def test_runs_are_in_order_of_their_start_and_not_of_their_coming(where: str) -> None:
    with History(where) as history:
        history.add([run(5), run(1)])
        history.add([run(3)])
        assert [one.run.id for one in history.runs()] == ["r1", "r3", "r5"]
        assert [one.run.id for one in history.runs(last=2)] == ["r3", "r5"]
        assert [one.value for one in history.series("m/g/v0", LATENCY).points] == [2, 4, 6]
        assert history.latest().run.id == "r5"


def test_an_empty_history_has_nothing_and_says_so(where: str) -> None:
    with History(where) as history:
        assert history.latest() is None
        assert (history.runs(), history.cases(), history.names()) == ((), (), ())
        assert history.series("m/g/v0", LATENCY).points == ()
        assert history.all_series() == ()


def test_a_series_is_one_case_and_metric_of_the_branch_and_runs_asked_for(where: str) -> None:
    with History(where) as history:
        history.add([run(number, branch="ab"[number % 2]) for number in range(6)])
        assert [one.run for one in history.series("m/g/v1", SSIM).points] == [
            f"r{number}" for number in range(6)
        ]
        assert [one.run for one in history.series("m/g/v1", SSIM, last=2).points] == ["r4", "r5"]
        on_a = history.series("m/g/v1", SSIM, branch="a", last=2)
        assert [(one.run, one.value) for one in on_a.points] == [("r2", 4.0), ("r4", 6.0)]
        assert on_a.points[0].environment == HERE
        assert history.cases() == ("m/g/v0", "m/g/v1")
        assert {(one.metric, one.runs) for one in history.names()} == {(LATENCY, 6), (SSIM, 6)}
        assert {(one.case, one.metric) for one in history.all_series(last=1)} == {
            (case, metric) for case in ("m/g/v0", "m/g/v1") for metric in (LATENCY, SSIM)
        }


def test_prune_keeps_the_newest_and_names_what_went(where: str) -> None:
    with History(where) as history:
        history.add([run(number) for number in range(5)])
        planned = history.prune(keep=2, dry=True)
        assert len(history.runs()) == 5
        gone = history.prune(keep=2)
        assert [one.run.id for one in gone] == ["r0", "r1", "r2"] == [one.run.id for one in planned]
        assert [one.run.id for one in history.runs()] == ["r3", "r4"]
        assert len(history.series("m/g/v0", LATENCY).points) == 2
        gone = history.prune(before=run(4).run.started)
        assert [one.run.id for one in gone] == ["r3"]
        history.prune(before="2027")
        assert (history.runs(), history.names()) == ((), ())


def test_a_run_that_was_pruned_can_be_written_again(where: str) -> None:
    with History(where) as history:
        history.add([run(0), run(1)])
        history.prune(keep=1)
        assert history.add([run(0)]).written == ("r0",)
        assert [one.value for one in history.series("m/g/v0", LATENCY).points] == [1, 2]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_an_export_imports_as_the_same_history(tmp_path: Path, kind: str) -> None:
    there = Environment("", {"torch": "2.12.0"})
    own = tuple(one._replace(environment=there) for one in run(0).measurements)
    written = [RunRows(run(0).run, (*own, *run(1).measurements[1:2])), run(1),
               RunRows(run(2).run, ())]  # fmt: skip
    written[0] = RunRows(written[0].run, own)
    file = tmp_path / f"out.{kind}"
    with History(tmp_path / "a.db") as history, file.open("w", newline="") as out:
        history.add(written)
        exports.WRITERS[kind](history.read(), out)
        before = list(history.read())
    with History(tmp_path / "b.db") as history:
        history.add(read_runs(file))
        assert list(history.read()) == before
        assert history.add(read_runs(file)).written == ()


def test_a_damaged_export_is_imported_up_to_the_damage(tmp_path: Path) -> None:
    out = io.StringIO()
    exports.write_lines([run(0), run(1)], out)
    file = tmp_path / "out.jsonl"
    file.write_text(out.getvalue()[:-20])
    assert next(read_runs(file)).run.id == "r0"
    with History(tmp_path / "a.db") as history, pytest.raises(LatentcyError, match="line 2"):
        history.add(read_runs(file))


def test_an_id_made_from_content_differs_where_the_content_does() -> None:
    nameless = RunRow("", "2026", environment=HERE)
    one, other = (with_id(RunRows(nameless, run(number).measurements)) for number in (1, 2))
    assert one.run.id != other.run.id
    assert with_id(RunRows(nameless, run(1).measurements[::-1])).run.id == one.run.id


_WRITER = """
import sys
from latentcy.store.history.rows import Measurement, RunRow, RunRows
from latentcy.store.history.store import History
numbers = tuple(Measurement("a/b/c", metric, 1.0) for metric in "wxyz")
first = int(sys.argv[1])
history = History(sys.argv[2])
for number in range(first, first + 50):
    history.add([RunRows(RunRow(f"r{one}", "2026"), numbers) for one in (number, 7)])
"""


def test_two_processes_write_at_once_and_nothing_is_lost_or_doubled(where: str) -> None:
    program = [sys.executable, "-c", _WRITER]
    writers = [
        subprocess.Popen([*program, first, where], cwd=REPOSITORY, stderr=subprocess.PIPE)
        for first in ("0", "50")
    ]
    errors = [one.communicate(timeout=120)[1].decode() for one in writers]
    assert [one.returncode for one in writers] == [0, 0], errors
    with History(where) as history:
        assert sorted(one.run.id for one in history.runs()) == sorted(
            f"r{number}" for number in range(100)
        )
        assert {one.measurements for one in history.runs()} == {4}


def test_an_old_history_is_brought_up_to_date_with_its_runs(where: str) -> None:
    made = engine(address(where))
    schema.bring_up_to_date(made, "it", schema.MIGRATIONS[:1])
    with made.begin() as connection:
        connection.exec_driver_sql("INSERT INTO environment VALUES (1, 'device: A', '{}')")
        connection.exec_driver_sql("INSERT INTO run VALUES (1, 'old', '2025', 'c', 'b', 1)")
        connection.exec_driver_sql("INSERT INTO series VALUES (1, 'm/g/v0', 'latency', 's')")
        connection.exec_driver_sql(
            "INSERT INTO measurement VALUES (1, 1, 2.5, NULL, NULL, 'passed', NULL)"
        )
    made.dispose()
    with History(where) as history:
        history.add([run(0)])
        points = history.series("m/g/v0", LATENCY).points
        assert [(one.run, one.value) for one in points] == [("old", 2.5), ("r0", 1.0)]
        assert [one.run.source for one in history.runs()] == ["", "run.json"]


def test_a_migration_that_fails_leaves_the_history_as_it_was(where: str) -> None:
    with History(where) as history:
        history.add([run(0)])

    def broken(connection: sa.Connection) -> None:
        connection.exec_driver_sql("DROP TABLE measurement")
        raise RuntimeError("power cut")

    made = engine(address(where))
    with pytest.raises(RuntimeError):
        schema.bring_up_to_date(made, "it", (*schema.MIGRATIONS, broken))
    made.dispose()
    with History(where) as history:
        assert history.runs()[0].measurements == 4


def test_a_history_of_a_newer_schema_is_refused(where: str) -> None:
    made = engine(address(where))
    schema.bring_up_to_date(made, "it", (*schema.MIGRATIONS, lambda connection: None))
    made.dispose()
    with pytest.raises(LatentcyError, match="update latentcy"):
        History(where)


def test_a_locked_history_says_how_to_import_later(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with History(path, run_file=Path("results/run.json"), lock_seconds=0.1) as history:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LatentcyError) as caught:
            history.add([run(0)])
        assert "locked" in caught.value.found
        later = f"python -m latentcy history import results/run.json --history {path}"
        assert later in caught.value.do
        assert history.runs() == ()  # reading goes on meanwhile
        other.close()
        assert history.add([run(0)]).written == ("r0",)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" * 300])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(content)
    with pytest.raises(LatentcyError) as caught:
        History(path)
    assert str(path) in caught.value.found
    assert path.read_bytes() == content


def test_a_history_that_a_reader_names_wrongly_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match="no history at"):
        History(tmp_path / "typo.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "empty name"),
        ("mysql://host/db", "mysql"),
        ("postgresql://a:b:c@@host:port/db", "postgresql"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, word: str) -> None:
    with pytest.raises(LatentcyError, match=word):
        History(url)


def test_an_unreachable_server_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg", reason="psycopg, PostgreSQL's driver, is not installed")
    with pytest.raises(LatentcyError) as caught:
        History("postgresql://me:secret@127.0.0.1:1/db", run_file=Path("run.json"))
    assert "127.0.0.1" in caught.value.found
    assert "history import run.json" in caught.value.do
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_every_statement_is_sql_for_either_database(dialect: sa.Dialect) -> None:
    statements = [
        queries.runs(5, "main"),
        queries.points(case="a", metric="b", last=5, branch="main"),
        queries.whole_run(),
        queries.series_names(),
        queries.cases(),
        queries.environments(),
    ]
    for one in statements:
        assert str(one.compile(dialect=dialect)).startswith("SELECT")


@pytest.mark.parametrize(
    "statement",
    [
        queries.runs(20),
        queries.points(last=20),
        queries.points(case="m/g/v0", metric=LATENCY),
        queries.points(case="m/g/v0", metric=LATENCY, last=20, branch="main"),
        queries.whole_run(),
    ],
)
def test_a_page_s_query_searches_measurements_by_an_index(
    tmp_path: Path, statement: sa.Select
) -> None:
    with History(tmp_path / "a.db") as history:
        history.add([run(0)])
        text = str(
            statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
            if "run_number" not in str(statement)
            else str(statement).replace(":run_number", "1")
        )
    with sqlite3.connect(tmp_path / "a.db") as plain:
        plan = [row[3] for row in plain.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert any(re.search(r"SEARCH measurement USING PRIMARY KEY", one) for one in plan), plan
    assert not any(re.search(r"SCAN measurement", one) for one in plan), plan


def test_the_last_runs_take_no_longer_in_a_history_ten_times_as_long(tmp_path: Path) -> None:
    def cost(runs: int) -> float:
        with History(tmp_path / f"{runs}.db") as history:
            history.add(run(number, cases=5) for number in range(runs))

            def once() -> float:
                start = time.process_time()
                assert len(history.series("m/g/v0", LATENCY, last=20).points) == 20
                assert len(history.all_series(last=20)) == 10
                return time.process_time() - start

            return min(once() for _ in range(5))

    assert cost(3000) < 4 * cost(300)


def test_tables_fit_a_terminal() -> None:
    long = Environment("device: " + "A very long name of a device " * 5, {})
    row = RunRow("r" * 40, run(0).run.started, "c" * 40, "feature/" + "b" * 80, long)
    numbers = tuple(
        one._replace(case="case/" + "x" * 120, metric="metric " * 9) for one in run(0).measurements
    )
    with History("sqlite://") as history:
        history.add([RunRows(row, numbers)])
        series = history.all_series()
        texts = [show.runs_table(history.runs()), show.names_table(history.names())]
    texts += [show.series_table(one) for one in series]
    assert series and max(len(line) for text in texts for line in text.splitlines()) <= 100


def test_the_commands_import_export_show_and_prune(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--history", str(tmp_path / "a.db")]
    file = tmp_path / "out.jsonl"
    with file.open("w") as out:
        exports.write_lines([run(0), run(1)], out)
    assert command(["history", "import", str(file), *at]) == 0
    assert "2 runs written" in capsys.readouterr().out
    assert command(["history", "import", str(file), *at]) == 0
    assert "0 runs written, 2 were there already" in capsys.readouterr().out
    assert command(["history", "export", *at]) == 0
    file.write_text(capsys.readouterr().out)
    assert [one.run.id for one in read_runs(file)] == ["r0", "r1"]
    assert command(["history", "show", *at]) == 0
    shown = capsys.readouterr().out
    assert "r1" in shown and "m/g/v1" in shown
    assert command(["history", "show", "--case", "m/g/v1", *at]) == 0
    assert "3 s" in capsys.readouterr().out
    assert command(["history", "prune", "--keep", "1", *at]) == 0
    assert "1 run with 4 numbers taken out; 1 run in" in capsys.readouterr().out
    with pytest.raises(LatentcyError, match="one of: latency, SSIM"):
        command(["history", "show", "--case", "m/g/v1", "--metric", "beauty", *at])


def test_the_history_imports_without_torch() -> None:
    script = "import sys, latentcy.commands.history; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


def command(arguments: list[str]) -> int:
    """What `python -m latentcy` does with a command of the history."""
    import argparse

    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    asked = parser.parse_args(arguments)
    run_it: Callable[[argparse.Namespace], int] = asked.command
    return run_it(asked)


def _postgres_programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


def _not_root(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: the folder is given to a user who is nobody."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)  # to be passed through, not to be read
    return "nobody"
