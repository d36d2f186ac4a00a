"""`python -m latentcy`: what is done with the results of runs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentcy.commands.bisect import add_command as add_bisect
from latentcy.commands.report import add_commands as add_report
from latentcy.core.errors import LatentcyError
from latentcy.core.extras import EXTRAS, check_extra, missing_module
from latentcy.core.verdict import FAILED
from latentcy.report.speed_lines import speed_lines
from latentcy.report.terminal import WIDTH, sentence, table
from latentcy.store.results import Results
from latentcy.suite.merge import copy_images, merge_runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 where all is well, 1 where a gate failed, 2 for a wrong file or option."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["run"]:  # whose options are pytest's
        return _run(given[1:])
    try:
        if given[:1] in (["history"], ["changes"]):
            check_extra("history", f"latentcy {given[0]}")
        asked = _parser().parse_args(given)
        status = asked.command(asked)
        sys.stdout.flush()
        return status
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(missing_module(error.name, "this command"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # into `head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: Sequence[str]) -> int:
    """`pytest --benchmark` with these options; its exit status."""
    command = [sys.executable, "-m", "pytest", "--benchmark", *arguments]
    return subprocess.run(command, check=False).returncode


def _compare(asked: argparse.Namespace) -> int:
    from latentcy.assertions.folders import compare_folders  # torch, for no other command

    verdict, pictures = compare_folders(asked.candidate, asked.reference, like=asked.like)
    print(textwrap.fill(f"{verdict.status.upper()}: {verdict.reason}", WIDTH))
    if pictures is not None:
        print(f"Pictures: {pictures}")
    return 1 if verdict.status == FAILED else 0


def _merge(asked: argparse.Namespace) -> int:
    run = merge_runs(asked.runs)
    Results(asked.out, run.about).write(run.reason, run.environment, run.records)
    copy_images(asked.runs, asked.out)
    print(table(run.records), *speed_lines(run.records), "", sep="\n")
    print(f"Results: {asked.out / 'run.json'}")
    print(
        textwrap.fill(
            sentence(run.records, interrupted=run.interrupted), WIDTH, break_on_hyphens=False
        )
    )
    failed = any(one.status == FAILED and not one.control for one in run.records)
    return 1 if failed else 0


def _faults(asked: argparse.Namespace) -> int:
    from latentcy.suite.injection import document  # torch, for no other command

    print(document(asked.results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentcy" if Path(sys.argv[0]).name == "latentcy" else "python -m latentcy",
        description="What is done with the results of runs.",
        epilog="Exit status: 0 all is well; 1 a gate failed (merge, changes --fail-on-change); "
        "2 a wrong option, or a file or history that cannot be used, with a message.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    merge = commands.add_parser("merge", help="make one run of the shards of a run")
    merge.add_argument("runs", nargs="+", type=Path, help="run.json of each shard, or its folder")
    merge.add_argument("--out", type=Path, required=True, help="folder for the merged run.json")
    merge.set_defaults(command=_merge)
    faults = commands.add_parser("faults", help="the table of the faults that a run injected")
    faults.add_argument("results", type=Path, help="results folder of a run with --inject")
    faults.set_defaults(command=_faults)
    commands.add_parser("run", help="pytest --benchmark, with the options of pytest")
    compare = commands.add_parser("compare", help="hold a folder of pictures against another")
    compare.add_argument("candidate", type=Path, help="folder of pictures")
    compare.add_argument("reference", type=Path, help="folder of pictures with the same names")
    compare.add_argument(
        "--like",
        default="bfloat16",
        help="the coarsest arithmetic that either side uses: float32, tf32, float16 or bfloat16"
        " (default: bfloat16)",
    )
    compare.set_defaults(command=_compare)
    for add in (add_report, _add_history, add_bisect):
        add(commands)
    return parser


def _add_history(commands: Any) -> None:
    """Adds what reads a history; without its extra, what says so."""
    try:
        from latentcy.commands.history import add_commands
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        for name in ("history", "changes"):
            commands.add_parser(name, help="needs latentcy[history]")
    else:
        add_commands(commands)


if __name__ == "__main__":
    sys.exit(main())
