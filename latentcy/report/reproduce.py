"""The one command that runs a case again."""

from __future__ import annotations

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
)
_CHOOSING += ("--smaller-is-better", "--bencher", "-k", "--benchmark-json", "--junitxml")
_CHOOSING += ("--junit-xml", "--benchmark-save")
_RECORDING = ("--benchmark-record", "--benchmark-autosave")


def reproduce(record: Record, command: Sequence[str]) -> str:
    """A shell line that runs the record's case alone, with the settings of its run.

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
        elif argument in _CHOOSING:
            waiting = True
        elif argument.split("=", 1)[0] not in (*_CHOOSING, *_RECORDING, "--benchmark"):
            kept.append(argument)
    if not any(each.split("=", 1)[0] == "--model" for each in kept):
        kept.insert(0, f"--model={record.model}")
    case = f"--case={record.group}/{record.variant}"
    return shlex.join(["pytest", "--benchmark", case, *kept])
