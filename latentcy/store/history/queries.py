"""The statements that read a history, for either database."""

from __future__ import annotations

import sqlalchemy as sa

from latentcy.store.history.schema import ENVIRONMENT, MEASUREMENT, RUN, SERIES


def run_numbers(last: int | None, branch: str | None) -> sa.Select:
    """Numbers of the newest runs; of all of them with None."""
    chosen = sa.select(RUN.c.number)
    if branch is not None:
        chosen = chosen.where(RUN.c.branch == branch)
    if last is not None:
        chosen = chosen.order_by(RUN.c.started.desc(), RUN.c.number.desc()).limit(last)
    return chosen


def runs(last: int | None = None, branch: str | None = None) -> sa.Select:
    """Runs with the number of their measurements, oldest first."""
    counted = (
        sa.select(sa.func.count())
        .select_from(MEASUREMENT)
        .where(MEASUREMENT.c.run == RUN.c.number)
        .scalar_subquery()
    )
    return run_rows(last, branch).add_columns(counted.label("measurements"))


def run_rows(last: int | None = None, branch: str | None = None) -> sa.Select:
    """The newest runs, or all, oldest first."""
    chosen = sa.select(RUN)
    if last is not None or branch is not None:
        chosen = chosen.where(RUN.c.number.in_(_as_rows(run_numbers(last, branch))))
    return chosen.order_by(RUN.c.started, RUN.c.number)


def points(
    *,
    case: str | None = None,
    metric: str | None = None,
    last: int | None = None,
    branch: str | None = None,
) -> sa.Select:
    """Measurements of the newest runs, or of all, in no order."""
    chosen = sa.select(MEASUREMENT).where(
        MEASUREMENT.c.run.in_(_as_rows(run_numbers(last, branch)))
    )
    if case is not None or metric is not None:
        chosen = chosen.where(MEASUREMENT.c.series.in_(_series_numbers(case, metric)))
    return chosen


def whole_run() -> sa.Select:
    """The measurements of a run, `run_number`, with their series."""
    return (
        sa.select(
            MEASUREMENT.c.run,
            SERIES.c.case_id,
            SERIES.c.metric,
            MEASUREMENT.c.value,
            MEASUREMENT.c.low,
            MEASUREMENT.c.high,
            SERIES.c.unit,
            MEASUREMENT.c.status,
            MEASUREMENT.c.environment,
        )
        .join_from(MEASUREMENT, SERIES, SERIES.c.number == MEASUREMENT.c.series)
        .where(MEASUREMENT.c.run == sa.bindparam("run_number"))
        .order_by(SERIES.c.case_id, SERIES.c.metric, SERIES.c.unit)
    )


def series_names() -> sa.Select:
    """Every series with the number of its runs."""
    counted = (
        sa.select(MEASUREMENT.c.series, sa.func.count().label("runs"))
        .group_by(MEASUREMENT.c.series)
        .subquery()
    )
    return (
        sa.select(SERIES.c.case_id, SERIES.c.metric, SERIES.c.unit, counted.c.runs)
        .join(counted, counted.c.series == SERIES.c.number)
        .order_by(SERIES.c.case_id, SERIES.c.number)
    )


def cases() -> sa.Select:
    """Every case once."""
    return sa.select(SERIES.c.case_id).distinct().order_by(SERIES.c.case_id)


def environments() -> sa.Select:
    """Environments by number."""
    return sa.select(ENVIRONMENT.c.number, ENVIRONMENT.c.fingerprint, ENVIRONMENT.c.content)


def _series_numbers(case: str | None, metric: str | None) -> sa.Select:
    chosen = sa.select(SERIES.c.number)
    if case is not None:
        chosen = chosen.where(SERIES.c.case_id == case)
    if metric is not None:
        chosen = chosen.where(SERIES.c.metric == metric)
    return chosen


def _as_rows(numbers: sa.Select) -> sa.Select:
    """The numbers as a table of their own: a limit inside IN (...) is read once."""
    return sa.select(numbers.subquery().c.number)
