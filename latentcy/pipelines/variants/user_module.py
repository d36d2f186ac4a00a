"""A user's Python file, run, with whatever goes wrong in it told by its line."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from latentcy.core.errors import LatentcyError


def run_file(path: Path, expected: str) -> ModuleType:
    """Run `path` as a module of its own, and return that module.

    Raises LatentcyError for whatever the file raises, with the exception and its line;
    `expected` is what the message says the file should have been.
    """
    name = f"latentcy_user_{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LatentcyError(
            found=f"{path}, not a .py file", expected=expected, do="rename it to end in .py"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles in the file look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line(error, path)
        where = f"{path}, line {line}" if line else f"{path}"
        if isinstance(error, LatentcyError):
            raise LatentcyError(
                found=f"{where}: {error.found}", expected=error.expected, do=error.do
            ) from error
        raise LatentcyError(
            found=f"{where}: {type(error).__name__}: {error}",
            expected=expected,
            do="correct that line; the file has to import by itself",
        ) from error
    return module


def import_object(name: str) -> Any:
    """The object of "module:NAME". Raises LatentcyError where there is none."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, attribute)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, (ModuleNotFoundError, AttributeError))
        raise LatentcyError(
            found=f"{name}: {type(error).__name__}: {error}",
            expected="an object of a module that this interpreter can import",
            do="install the package, or name its folder in pytest's pythonpath"
            if missing
            else "correct the module; it has to import by itself",
        ) from error


def _line(error: BaseException, path: Path) -> int | None:
    """The last line of `path` that the error passed through; None where it named none."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    return lines[-1] if lines else None
