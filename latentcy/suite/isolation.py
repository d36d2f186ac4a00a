"""A case in a process of its own: what becomes of it costs that case alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.verdict import FAILED, Verdict
from latentcy.pipelines.case import Case
from latentcy.store.results import RunFile, read_run
from latentcy.suite.fork_server import ForkServer
from latentcy.suite.run import Run

LAST_WORDS = 5  # lines


@dataclass(frozen=True)
class ProcessEnd:
    """How a process ended.

    Attributes:
        status: its exit status, negative for the signal that killed it; None after its time.
        last_words: the end of what it printed.
    """

    status: int | None
    last_words: str

    def reason(self, limit_seconds: float) -> str:
        """How it ended, in one sentence with its last words."""
        if self.status is None:
            how = f"its process was ended after {limit_seconds:g} s (--limit)"
        elif self.status < 0:
            how = f"its process was killed by {_signal(-self.status)}"
        else:
            how = f"its process ended with status {self.status}"
        return f"{how}; its last words: {self.last_words or 'none'}"


class IsolatedRunner:
    """Runs the cases of a run each in a process of its own, and takes their records over.

    On a CPU those processes are forked from one that has made the imports; `close` ends that one.

    Args:
        run: whose cases they are; it loads nothing itself.
        arguments: for a case and a results folder, the arguments of the Python interpreter that
            runs that case alone, "-m" and a module first.
        folder: where to run it.
        limit_seconds: for each case; 0 for no limit.
    """

    def __init__(
        self,
        run: Run,
        arguments: Callable[[Case, Path], Sequence[str]],
        *,
        folder: Path,
        limit_seconds: float,
    ) -> None:
        self._run, self._arguments = run, arguments
        self._folder, self._limit = folder, limit_seconds
        forks = run.device.kind == "cpu" and ForkServer.is_possible()
        self._server = ForkServer() if forks else None

    def measure(self, case: Case) -> Record:
        """The case's record.

        Where its process left none, did not come to the end of its run, or failed without a gate
        that did, the record has a failed "process" gate with the process' last words.
        """
        place = self._run.results.folder / "cases" / case.label
        with contextlib.suppress(FileNotFoundError):
            (place / "run.json").unlink()  # of an earlier run
        ended = run_isolated(
            self._arguments(case, place),
            folder=self._folder,
            log=place / "output.log",
            limit_seconds=self._limit,
            server=self._server,
        )
        left = _read(place)
        record = next((one for one in left.records if one.case == case.id), None) if left else None
        if record is not None:
            self._run.recorder.adopt(record)
            self._run.results.adopt_images(place)
        wrong = _wrong(ended, left, record)
        if wrong is not None:
            reason = f"{wrong}{ended.reason(self._limit)}"
            self._run.recorder.add_verdict(case, Verdict("process", FAILED, reason))
        self._run.speed.adopt(case, self._run.recorder.record_of(case))
        return self._run.recorder.record_of(case)

    def close(self) -> None:
        """Ends the process that the others were forked from."""
        if self._server is not None:
            self._server.close()


def _read(place: Path) -> RunFile | None:
    with contextlib.suppress(LatentcyError):
        return read_run(place)
    return None


def _wrong(ended: ProcessEnd, left: RunFile | None, record: Record | None) -> str | None:
    """Why a process is not to be trusted, to be followed by how it ended; None where it is."""
    if left is None or record is None or ended.status not in (0, 1):
        return ""
    if left.interrupted:
        return "its run did not come to its end: "
    if ended.status == 1 and record.status != FAILED:
        return "something failed that is no gate: "
    return None


def run_isolated(
    arguments: Sequence[str],
    *,
    folder: Path,
    log: Path,
    limit_seconds: float,
    server: ForkServer | None = None,
) -> ProcessEnd:
    """Runs `python ARGUMENTS` in its own process group, everything it prints going to `log`.

    With a server, ARGUMENTS are "-m", a module and the module's own, and the process is forked.
    The whole group is ended when `limit_seconds` are over (0: never), and when this process is
    interrupted. Raises LatentcyError where the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    except OSError as error:
        raise LatentcyError(
            found=f"{log}, which cannot be written ({error.strerror or error})",
            expected="a folder that this user may write to, on a disk with room",
            do="name another folder with --results",
        ) from error
    status = None
    with output:
        try:
            if server is None:
                raise EOFError
            status = _forked(server, arguments, folder, log, limit_seconds or None)
        except (EOFError, OSError):  # no server, or one that has died
            status = _interpreted(arguments, folder, output, limit_seconds or None)
    return ProcessEnd(status, _last_words(log))


def _forked(
    server: ForkServer, arguments: Sequence[str], folder: Path, log: Path, limit: float | None
) -> int | None:
    """The exit status of a forked process; None where it was ended after its time."""
    flag, module, *others = arguments
    assert flag == "-m", arguments
    process = server.start(module, others, folder=folder, log=log)
    status = None
    try:
        status = server.wait(limit)
    finally:
        _end(process)
        if status is None:
            server.wait(None)  # of the process that was ended
    return status


def _interpreted(
    arguments: Sequence[str], folder: Path, output: IO[bytes], limit: float | None
) -> int | None:
    """The exit status of a new interpreter; None where it was ended after its time."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process.pid)
        process.wait()


def _end(group: int) -> None:
    """Kills what is left of a process and of those that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(group, signal.SIGKILL)
        else:
            os.kill(group, signal.SIGTERM)


def _last_words(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        return " / ".join(said[-LAST_WORDS:])[-500:]
    return ""


def _signal(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
