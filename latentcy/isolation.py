"""A case in a process of its own: what becomes of it costs that case alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentcy.errors import LatentcyError

LAST_WORDS = 5  # lines


@dataclass(frozen=True)
class Ended:
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
            how = f"its process ended with status {self.status} and without a record"
        return f"{how}; its last words: {self.last_words or 'none'}"


def run_apart(command: Sequence[str], *, folder: Path, log: Path, limit_seconds: float) -> Ended:
    """Runs a command in its own process group, everything it prints going to `log`.

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
    with output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit_seconds or None)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
    return Ended(status, _last_words(log))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the process and of those that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


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
