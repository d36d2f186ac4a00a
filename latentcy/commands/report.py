"""`python -m latentcy report`: the page of a run that lies on disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from latentcy.store.results import read_run

if TYPE_CHECKING:
    from latentcy.report.html.trend_plots import Series


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds `report` to the commands of `python -m latentcy`."""
    parser = commands.add_parser("report", help="make the HTML page of a run")
    parser.add_argument("run", type=Path, metavar="RUN.json", help="a run.json, or its folder")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for report.html (default: beside run.json)"
    )
    parser.add_argument(
        "--history", metavar="URL", help="show the trend of its numbers in this history as well"
    )
    parser.set_defaults(command=_report)


def _report(asked: argparse.Namespace) -> int:
    """0 where the page was written, whatever the run's verdict; a LatentcyError otherwise."""
    from latentcy.report.html.page import write_report  # plotly only where it is needed

    here = asked.run if asked.run.is_dir() else asked.run.parent
    path = write_report(asked.run, asked.out or here, trend=_trend(asked))
    print(f"Report: {path}")
    return 0


def _trend(asked: argparse.Namespace) -> tuple[Series, ...] | None:
    if not asked.history:
        return None
    from latentcy.report.html.history_trends import trends  # SQLAlchemy only where it is needed

    return trends(asked.history, {one.case for one in read_run(asked.run).records})
