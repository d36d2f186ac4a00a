"""The worker's process: started through execnet, asked within a time limit, and ended."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import execnet

import latentcy
from latentcy.core.errors import LatentcyError

# Of the other interpreter: no PYTHONPATH and no current folder of this one on its sys.path.
INTERPRETER_FLAGS = ("-E", "-P")

_HELLO_SECONDS = 120.0
_GOODBYE_SECONDS = 5.0
_POLL_SECONDS = 1.0
_LAST_WORDS = 600  # characters


class WorkerProcess:
    """One process of another interpreter, which runs `latentcy.remote.worker`.

    Raises LatentcyError where it does not start. It ends with `stop()`, when this interpreter
    exits, and by itself when this interpreter is killed.
    """

    def __init__(self, python: str) -> None:
        self.python = python
        self.ended = False
        self.pid: int | None = None
        descriptor, path = tempfile.mkstemp(prefix="latentcy-against-", suffix=".log")
        self._log_path = Path(path)
        self._log = os.fdopen(descriptor, "rb")  # what it prints, read from here
        self._log_mark = 0  # how long it was when the last request was sent
        self._group = execnet.Group()
        atexit.register(self.stop)  # after the group registered its own: the last one runs first
        try:
            gateway = self._group.makegateway(_spec(python))
            package = str(Path(latentcy.__file__).resolve().parent)
            self._channel = gateway.remote_exec(_serve, package=package, log=path)
            self.pid = self._channel.receive(timeout=_HELLO_SECONDS)
            self._remove_log()  # both sides have it open: nothing is left of it in any event
        except (AssertionError, EOFError, OSError, execnet.RemoteError) as error:
            raise self._lost("starting", error) from None
        except BaseException:
            self.stop(kill=True)
            raise

    def ask(
        self, verb: str, arguments: Mapping[str, Any], *, doing: str, limit_seconds: float
    ) -> Any:
        """The worker's answer to `verb`; `doing` says in a message what was under way.

        Raises LatentcyError for whatever was raised there and, with the process ended, where
        it dies or gives no answer within the limit.
        """
        self._log_mark = os.fstat(self._log.fileno()).st_size
        try:
            with contextlib.suppress(OSError):  # why it cannot be sent is told by receiving
                self._channel.send((verb, dict(arguments)))
            answer = self._receive(limit_seconds)
        except self._channel.TimeoutError:
            raise self._hung(doing, limit_seconds) from None
        except (EOFError, OSError, execnet.RemoteError) as error:
            raise self._lost(doing, error) from None
        except BaseException:  # an interrupted wait: its answer would be taken for the next one
            self.stop(kill=True)
            raise
        return self._value(answer, doing)

    def stop(self, *, kill: bool = False) -> None:
        """End the process; `kill` does not wait for it, and takes its own children along."""
        atexit.unregister(self.stop)
        if self.ended:
            return
        if kill:
            self._kill()
        try:
            self._group.terminate(timeout=_GOODBYE_SECONDS)
        except RuntimeError:  # the interpreter is at its end: execnet can start no more threads
            self._kill()
        self.ended = True
        self._log.close()
        self._remove_log()

    def _receive(self, limit_seconds: float) -> Any:
        """The next answer. Looks for a death too: a child that holds the pipe can conceal it."""
        deadline = time.monotonic() + limit_seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                return self._channel.receive(timeout=min(_POLL_SECONDS, left))
            except self._channel.TimeoutError:
                if self._exit_status() is not None:
                    raise EOFError("it ended") from None
                if left <= _POLL_SECONDS:
                    raise

    def _value(self, answer: tuple[Any, ...], doing: str) -> Any:
        kind, *rest = answer
        if kind == "value":
            return rest[0]
        if kind == "error":
            found, expected, do = rest
            raise LatentcyError(found=f"in {self.python}: {found}", expected=expected, do=do)
        name, message = rest
        said = " ".join(message.split())[:_LAST_WORDS]
        raise LatentcyError(
            found=f"in {self.python}, {doing}: {name}: {said}",
            expected="a case that runs in both environments",
            do="correct it in that environment, or leave the case out",
        )

    def _hung(self, doing: str, limit_seconds: float) -> LatentcyError:
        words = _last_words(self._log, self._log_mark)
        self.stop(kill=True)
        return LatentcyError(
            found=f"{self.python} gave no answer in {limit_seconds:g} s, {doing}{words}",
            expected="an answer within the time limit",
            do="find what it waits for; its process was ended",
        )

    def _lost(self, doing: str, error: BaseException) -> LatentcyError:
        """The error for a process that is gone or of no more use; what is left of it is ended."""
        remote = isinstance(error, execnet.RemoteError)
        status = None if remote else self._exit_status(patience_seconds=_GOODBYE_SECONDS)
        words = _last_words(self._log, self._log_mark)
        self.stop(kill=True)
        if status is None:
            how = f"could not go on ({_last_line(error)})"
        else:
            how = f"was ended by {_signal(-status)}" if status < 0 else f"ended, status {status}"
        return LatentcyError(
            found=f"the process of {self.python} {how}, {doing}{words}",
            expected="a process that lives as long as its cases",
            do="see whether the memory ran out: the kernel then ends processes by SIGKILL"
            if status == -9
            else "correct what ends it in that environment, or leave the case out",
        )

    def _exit_status(self, patience_seconds: float = 0.0) -> int | None:
        """The exit status, a signal as a negative number; None while it lives or if unknown.

        The process stays a zombie, so that its number is its own until execnet reaps it.
        """
        if self.pid is None or not hasattr(os, "waitid"):
            return None
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                how = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # not our child: started by a script that waits for it
                return None
            if how is not None:
                return how.si_status if how.si_code == os.CLD_EXITED else -how.si_status
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)

    def _remove_log(self) -> None:
        with contextlib.suppress(OSError):  # Windows removes no open file
            self._log_path.unlink(missing_ok=True)

    def _kill(self) -> None:
        if self.pid is None or self.ended:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGTERM)


def _spec(python: str) -> str:
    """Execnet's specification; it splits the command as a shell does, and itself at "//"."""
    command = " ".join((shlex.quote(python), *INTERPRETER_FLAGS))
    return f"popen//execmodel=main_thread_only//python={command}"


def _serve(channel, package: str, log: str) -> None:  # sent as source: builtins and imports only
    """Runs there: leads its own process group, prints into `log`, and serves the channel.

    The harness is `package`, this side's latentcy, whatever is installed there. Its folder is
    not put on sys.path, since that may be the site-packages of this side.
    """
    import faulthandler
    import importlib.util
    import os
    import sys
    import typing

    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)
    channel.send(os.getpid())
    streams: tuple[typing.Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
    faulthandler.enable()
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX"):
        os.environ.pop(name, None)  # for the processes that it may start
    spec = importlib.util.spec_from_file_location(
        "latentcy", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["latentcy"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["latentcy"])
    from latentcy.remote import worker

    worker.serve(channel)


def _last_words(log: BinaryIO, mark: int) -> str:
    """The end of what was printed from byte `mark` on, a clause on one line; empty if nothing."""
    log.seek(max(mark, os.fstat(log.fileno()).st_size - 65536))
    text = log.read().decode("utf-8", errors="replace")
    fatal = text.rfind("Fatal Python error")  # a fault's first lines say more than its last
    text = text[fatal:][:_LAST_WORDS] if fatal >= 0 else text[-_LAST_WORDS:]
    lines = [each.strip() for each in text.splitlines() if each.strip()]
    return f"; its last words: {' | '.join(lines)}" if lines else ""


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
