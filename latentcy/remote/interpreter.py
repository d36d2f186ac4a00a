"""An interpreter given by a user: is it one, and can it run the harness?"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

from latentcy.core.errors import LatentcyError
from latentcy.remote.process import INTERPRETER_FLAGS

OLDEST_PYTHON = (3, 11)
NEEDED = ("torch", "diffusers", "transformers", "numpy")

# Read by any Python that may be there, so written for old ones too.
_PROBE = """
import sys
sys.path[:] = [each for each in sys.path if each]
absent = []
if sys.version_info[:2] >= OLDEST:
    import importlib.util
    absent = [each for each in NEEDED if importlib.util.find_spec(each) is None]
import json
print("latentcy-probe " + json.dumps([list(sys.version_info[:3]), absent]))
"""
_PROBE_SECONDS = 120.0
_EXPECTED = f"a Python interpreter of version {'.'.join(map(str, OLDEST_PYTHON))} or later"


def find_interpreter(python: str) -> str:
    """The interpreter's absolute path, links kept: a virtual environment is known by its own.

    Raises LatentcyError where there is no executable file of that name.
    """
    if re.match(r"(vagrant_)?ssh=|socket=", python):
        raise LatentcyError(
            found=f"{python!r}, another host's interpreter",
            expected="an interpreter on this machine",
            do="run on one host: two hosts are two devices, whose latencies are never compared",
        )
    if not python:
        raise LatentcyError(
            found="an empty path", expected=_EXPECTED, do="check the path given to --against"
        )
    on_path = shutil.which(python) if os.path.basename(python) == python else None
    path = os.path.abspath(os.path.expanduser(on_path or python))
    path = "/" + path.lstrip("/") if path.startswith("//") else path
    if os.path.isdir(path):
        inside = [
            each
            for each in (os.path.join(path, "bin", "python"), os.path.join(path, "python.exe"))
            if os.path.isfile(each)
        ]
        raise LatentcyError(
            found=f"{path}, a folder",
            expected=_EXPECTED,
            do=f"give {inside[0]}" if inside else "give the interpreter in it",
        )
    if not os.path.isfile(path):
        raise LatentcyError(
            found=f"no file {path}", expected=_EXPECTED, do="check the path given to --against"
        )
    if not os.access(path, os.X_OK):
        raise LatentcyError(
            found=f"{path}, which is not executable",
            expected=_EXPECTED,
            do="check the path given to --against",
        )
    return path


def check_interpreter(python: str) -> None:
    """Raise LatentcyError unless `python` is an interpreter that can run the harness."""
    version, absent = _probe(python)
    if tuple(version[:2]) < OLDEST_PYTHON:
        raise LatentcyError(
            found=f"{python}, Python {'.'.join(map(str, version))}",
            expected=_EXPECTED,
            do="install the other environment with a later Python",
        )
    if absent:
        raise LatentcyError(
            found=f"{python}, which lacks {', '.join(absent)}",
            expected=f"an environment with {', '.join(NEEDED)}",
            do=f"install {', '.join(absent)} there",
        )


def _probe(python: str) -> tuple[list[int], list[str]]:
    source = f"OLDEST, NEEDED = {OLDEST_PYTHON!r}, {NEEDED!r}\n{_PROBE}"
    command = [python, INTERPRETER_FLAGS[0], "-c", source]
    why = "it does not answer as one"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        why = f"no answer in {_PROBE_SECONDS:g} s"
    except OSError as error:
        why = error.strerror or str(error)
    else:
        before, mark, answer = done.stdout.decode("utf-8", "replace").partition("latentcy-probe ")
        if mark and before.strip():
            raise LatentcyError(
                found=f"{python}, which prints when it starts: {before.strip()[:200]}",
                expected="an interpreter that starts silently",
                do="take the print out of its sitecustomize or .pth files",
            )
        if mark:
            version, absent = json.loads(answer)
            return version, absent
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[-1][:200] if said else why
    raise LatentcyError(
        found=f"{python}, which is no Python interpreter that runs ({why})",
        expected=_EXPECTED,
        do="check the path given to --against",
    )
