"""Where a finished run goes besides the terminal: report, job summary, charts, history."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from latentcy.core.errors import LatentcyError
from latentcy.report.ci_metrics import bencher_metrics, smaller_is_better
from latentcy.report.markdown import summary
from latentcy.store.history.imports import read_runs
from latentcy.store.results import RunFile, read_run


@dataclass(frozen=True)
class Outputs:
    """What was asked for; None where it was not.

    Attributes:
        report: folder for the page.
        summary: file for the Markdown summary, appended to what it holds.
        smaller_is_better, bencher: files for the charting services' JSON.
        history: a database's URL, or an SQLite file's path.
    """

    report: Path | None = None
    summary: Path | None = None
    smaller_is_better: Path | None = None
    bencher: Path | None = None
    history: str | None = None


@dataclass(frozen=True)
class OutputReport:
    """What became of one outlet, in one line; the run's own files are there in any case."""

    line: str
    failed: bool = False


def write_outputs(results: Path, asked: Outputs) -> Iterator[OutputReport]:
    """Hands a run's results to each outlet; one that fails costs no other.

    Raises LatentcyError where the run's own file cannot be read.
    """
    run = read_run(results)
    if not run.records:
        yield OutputReport("No case was measured, so there is nothing to hand on.")
        return
    for hand_over in _wanted(results, run, asked):
        try:
            yield OutputReport(hand_over())
        except LatentcyError as error:
            yield OutputReport(str(error), failed=True)
        except Exception as error:  # a fault of ours, or of a library, costs this outlet alone
            yield OutputReport(str(_unexpected(results, error)), failed=True)


def _unexpected(results: Path, error: Exception) -> LatentcyError:
    said = " ".join(str(error).split())[:300]
    return LatentcyError(
        found=f"{type(error).__name__} while handing on {results / 'run.json'}: {said}",
        expected="a report, summary, chart or history of it",
        do="the results are on disk; report this, and try again: python -m latentcy report, "
        "or python -m latentcy history import",
    )


def _wanted(results: Path, run: RunFile, asked: Outputs) -> Iterator[Callable[[], str]]:
    if asked.history:
        yield lambda: _history(results, asked.history or "")
    if asked.report:
        yield lambda: _report(results, asked)
    if asked.summary:
        yield lambda: _append(asked.summary, summary(run), "Summary")
    if asked.smaller_is_better:
        yield lambda: _json(asked.smaller_is_better, smaller_is_better(run.records), "Charts")
    if asked.bencher:
        yield lambda: _json(asked.bencher, bencher_metrics(run.records), "Bencher")


def _report(results: Path, asked: Outputs) -> str:
    from latentcy.report.html.page import write_report  # plotly only where it is needed

    assert asked.report is not None
    trend = None
    if asked.history:
        from latentcy.report.html.history_trends import trends

        cases = {one.case for one in read_run(results).records}
        with contextlib.suppress(LatentcyError):  # told where the run was to be recorded
            trend = trends(asked.history, cases)
    return f"Report: {write_report(results, asked.report, trend=trend)}"


def _history(results: Path, where: str) -> str:
    from latentcy.store.history.store import History  # SQLAlchemy only where it is needed

    with History(where, run_file=results / "run.json") as history:
        added = history.add(read_runs(results))
        known = "" if added.written else ", where it was already"
        return f"History: recorded in {history.shown}{known}"


def _append(path: Path | None, text: str, what: str) -> str:
    before = ""
    if path is not None and path.is_file():
        with contextlib.suppress(OSError):
            before = path.read_text(encoding="utf-8", errors="replace")
    return _write(path, before + text, what)


def _json(path: Path | None, content: object, what: str) -> str:
    return _write(path, json.dumps(content, indent=1) + "\n", what)


def _write(path: Path | None, text: str, what: str) -> str:
    assert path is not None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise LatentcyError(
            found=f"{path}, which cannot be written ({error.strerror or error})",
            expected="a file that this user may write, on a disk with room",
            do="name another file; the run itself is in its results folder",
        ) from error
    return f"{what}: {path}"
