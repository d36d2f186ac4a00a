"""The one command that runs a case again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from latentcy.core.record import Record

# What says which cases are run, and where results go: replaced by the one case.
_CHOOSING: tuple[str, ...] = (
    "--only",
    "--case",
    "--shard",
    "--results",
    "--report",
    "--history",
    "--summary",
    "--smaller-is-better",
    "--bencher",
    "--benchmark-json",
    "--benchmark-save",
    "--junitxml",
    "--junit-xml",
    "-k",
)
_RECORDING = ("--benchmark-record", "--benchmark-autosave")
_LONG = re.compile(r"^--latentcy-")
# Those that `--model` takes by this name; another model is named in the command or the ini file.
_KNOWN_MODEL = re.compile(r"miniature|sd1[45](-synthetic(-small)?)?")


def reproduce(record: Record, command: Sequence[str]) -> str:
    """A shell line that runs the record's case alone, with the settings of its run.

    What it adds is named in the long form, which every repository knows.

    Args:
        record: whose case is meant.
        command: the arguments of the run's own command line, after `pytest`; without any, those
            that a run of its model needs.
    """
    kept: list[str] = []
    waiting = False  # for the value of an option that is left out
    for argument in command:
        if waiting:
            waiting = False
        elif _short(argument) in _CHOOSING:
            waiting = "=" not in argument
        elif _short(argument) not in (*_RECORDING, "--benchmark"):
            kept.append(argument)
    named = any(_short(each) == "--model" for each in kept)
    if not named and _KNOWN_MODEL.fullmatch(record.model):
        kept.insert(0, f"--latentcy-model={record.model}")
    case = f"--latentcy-case={record.group}/{record.variant}"
    return shlex.join(["pytest", "--benchmark", case, *kept])


def _short(argument: str) -> str:
    """The short form of an option, without its value."""
    return _LONG.sub("--", argument.split("=", 1)[0])
