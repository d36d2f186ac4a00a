"""Python programs in processes that need not import torch and diffusers first.

Those imports take five to ten seconds of a core (`python -X importtime -c "import
latentcy.suite.run"`), which a run of many short processes would pay in each. A server pays them
once and forks. It serves runs on a CPU alone: importing asks CUDA what
there is, and a process that has asked may not fork and use it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

PRELOADED = (
    "torch",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.image_processing_clip",
    "transformers.models.clip.processing_clip",
    "torchmetrics.image",
    "torchmetrics.multimodal.clip_score",
    "scipy.stats",
    "latentcy.suite.run",
    "latentcy.pipelines.loading",
)


class ForkServer:
    """A process that forks others on demand, one at a time; it ends with `close` or with this one.

    It starts with the first program, in the environment that this process has then. Raises OSError
    or EOFError from `start` where it cannot be had: run the program in a new interpreter then.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    @staticmethod
    def is_possible() -> bool:
        """Whether this system can fork."""
        return hasattr(os, "fork")

    def start(self, module: str, arguments: Sequence[str], *, folder: Path, log: Path) -> int:
        """Begins `python -m MODULE ARGUMENTS` in `folder`; gives its process and group number.

        What it prints goes to `log`, which is written anew. The one before must have ended.
        """
        server = self._server()
        asked = {
            "module": module,
            "arguments": list(arguments),
            "folder": str(folder.resolve()),
            "log": str(log.resolve()),
            "environment": dict(os.environ),
        }
        assert server.stdin is not None
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        return self._reply(server)

    def wait(self, limit_seconds: float | None) -> int | None:
        """The exit status, a signal as a negative number; None where it still runs after that.

        Raises EOFError where the server itself is gone.
        """
        server = self._process
        if server is None:
            raise EOFError("no server that forks processes")
        assert server.stdout is not None
        readable, _, _ = select.select([server.stdout], [], [], limit_seconds)
        return self._reply(server) if readable else None

    def close(self) -> None:
        """Ends the server."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not yet written has no reader
                if pipe is not None:
                    pipe.close()

    def _server(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "latentcy.suite.fork_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
                start_new_session=True,  # Ctrl-C is for this process to handle
            )
        return self._process

    def _reply(self, server: subprocess.Popen[str]) -> int:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            self.close()
            raise EOFError("the server that forks processes has ended")
        return int(line)


def end_with_parent() -> None:
    """Has the kernel kill this process when the one that started it ends, however that ends.

    Linux alone can be asked that (prctl(2), PR_SET_PDEATHSIG); elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1


def serve(requests: TextIO, replies: TextIO) -> dict[str, Any] | None:
    """Forks for each request and replies its process number, then its exit status.

    Gives the request in the forked process, and None in the server when there are no more.
    """
    for line in requests:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            end_with_parent()
            with contextlib.suppress(PermissionError):
                os.setpgid(0, 0)
            requests.close()
            replies.close()
            return asked
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(child, child)  # here too: whichever comes first
        print(child, file=replies, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=replies, flush=True)
    return None


def _become(asked: dict[str, Any]) -> None:
    """Runs what was asked for, as `python -m` in that folder would."""
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[0] = asked["folder"]
    sys.argv = [asked["module"], *asked["arguments"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


def _main() -> None:
    end_with_parent()
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    with open(os.devnull, "r+b") as nothing:
        for number in (0, 1):  # what an import prints is no reply
            os.dup2(nothing.fileno(), number)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # a collection need not look at what was imported, nor copy its pages
    asked = serve(requests, replies)
    if asked is not None:
        _become(asked)


if __name__ == "__main__":
    _main()
