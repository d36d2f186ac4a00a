"""Programs in forked processes: as a new interpreter runs them, without its imports."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from latentcy.suite.fork_server import PRELOADED, ForkServer
from latentcy.suite.isolation import run_isolated

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not ForkServer.is_possible(), reason="this system cannot fork"),
]


@pytest.fixture(scope="module")
def server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def program(tmp_path, server):
    """Runs a module of this text in a forked process, and in a new interpreter."""

    def run(text, *arguments, forked=True, limit=60):
        (tmp_path / "program.py").write_text(text)
        return run_isolated(
            ["-m", "program", *arguments],
            folder=tmp_path,
            log=tmp_path / "log",
            limit_seconds=limit,
            server=server if forked else None,
        )

    return run


SEEN = """
import atexit, os, sys
import pathlib
atexit.register(lambda: print("at its end"))
print(os.getcwd(), sys.argv[1:], os.environ["SEEN"], __name__, sys.path[0])
print("to stderr", file=sys.stderr, flush=True)
print(repr(sys.stdin.read()))
sys.exit(3)
"""


def test_a_program_sees_what_a_new_interpreter_shows_it(program, tmp_path, monkeypatch):
    monkeypatch.setenv("SEEN", "now")
    logs = []
    for forked in (True, False):
        ended = program(SEEN, "one", "two words", forked=forked)
        assert ended.status == 3
        logs.append(sorted((tmp_path / "log").read_text().splitlines()))
    assert logs[0] == logs[1]
    assert f"{tmp_path} ['one', 'two words'] now __main__ {tmp_path}" in logs[0]
    assert "at its end" in logs[0] and "to stderr" in logs[0]


def test_the_imports_are_there_already(program):
    text = f"import sys\nabsent = set({PRELOADED}) - set(sys.modules)\nsys.exit(len(absent))"
    assert program(text).status == 0
    assert program(text, forked=False).status == len(PRELOADED)


def test_one_process_leaves_the_next_nothing(program):
    assert program("import os, sys\nos.environ['LEFT'] = '1'\nsys.left = 1").status == 0
    assert (
        program("import os, sys\nsys.exit('LEFT' in os.environ or hasattr(sys, 'left'))").status
        == 0
    )


def test_a_death_is_told_by_its_signal(program):
    ended = program("import os\nprint('last words', flush=True)\nos.kill(os.getpid(), 11)")
    assert ended.status == -signal.SIGSEGV
    assert "SIGSEGV" in ended.reason(0) and "last words" in ended.reason(0)


def test_what_raises_shows_its_traceback_in_the_log(program, tmp_path):
    assert program("1 / 0").status == 1
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def test_a_process_and_its_children_are_ended_at_the_limit(program, tmp_path):
    child = "import time; open('child', 'w').close(); time.sleep(98)"
    text = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    ended = program(text, limit=5)
    assert ended.status is None
    assert (tmp_path / "child").exists()
    assert not _running("time.sleep(98)")
    assert program("").status == 0  # and the server still serves


def test_where_the_server_dies_the_program_runs_in_an_interpreter(tmp_path):
    server = ForkServer()
    text = "import os\nif os.getppid() != PARENT: os.kill(os.getppid(), 9)\nprint('done')"
    (tmp_path / "program.py").write_text(text.replace("PARENT", str(os.getpid())))
    ended = run_isolated(
        ["-m", "program"],
        folder=tmp_path,
        log=tmp_path / "log",
        limit_seconds=60,
        server=server,
    )
    assert ended.status == 0
    assert (tmp_path / "log").read_text() == "done\n"


def _running(words):
    """Whether a process with these words in its command is seen within a second."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        found = False
        for entry in os.scandir("/proc") if sys.platform == "linux" else ():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                        found |= words.encode() in file.read()
                except OSError:
                    continue
        if not found:
            return False
        time.sleep(0.1)
    return True
