"""`python -m latentcy`: what is done with the results of runs."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from latentcy.commands.bisect import add_command as add_bisect
from latentcy.commands.history import add_commands as add_history
from latentcy.commands.report import add_commands as add_report
from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import FAILED
from latentcy.report.speed_lines import speed_lines
from latentcy.report.terminal import WIDTH, sentence, table
from latentcy.store.results import Results
from latentcy.suite.merge import copy_images, merge_runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 where all is well, 1 where a gate failed, 2 for a wrong file or option."""
    asked = _parser().parse_args(arguments)
    try:
        status = asked.command(asked)
        sys.stdout.flush()
        return status
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # into `head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


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
        prog="python -m latentcy",
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
    for add in (add_report, add_history, add_bisect):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
