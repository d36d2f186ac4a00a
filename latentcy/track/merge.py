"""Several runs of disjoint cases made one: the shards of one run, measured on several machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from latentcy.errors import LatentcyError
from latentcy.judge.comparison import speed_verdicts
from latentcy.track.records import Record
from latentcy.track.results import RunFile, read_run

# What shards of one run must share. Each case is judged on its own machine, so devices may differ.
MUST_AGREE = ("torch", "diffusers", "transformers")


def merge_runs(paths: Sequence[Path]) -> RunFile:
    """Reads the runs and puts their records together, speed judged anew among all of them.

    Raises LatentcyError where one cannot be read, two hold the same case, or versions differ.
    """
    runs = {path: read_run(path) for path in paths}
    if not runs:
        raise LatentcyError(
            found="no run to merge", expected="the run.json of each shard", do="name them"
        )
    _check_environments(runs)
    records: dict[str, Record] = {}
    for path, run in runs.items():
        for record in run.records:
            if record.case in records:
                raise LatentcyError(
                    found=f"{record.case} twice, the second time in {path}",
                    expected="each case in one shard",
                    do="merge the shards of one run only",
                )
            records[record.case] = record
    first = next(iter(runs.values()))
    reason = f"{first.reason} Merged from {len(runs)} runs."
    return RunFile(reason, first.environment, judge_again(tuple(records.values())), first.about)


def judge_again(records: Sequence[Record]) -> tuple[Record, ...]:
    """Speed verdicts of all records, corrected for the number of cases in all of them together."""
    judged = {
        one.case: one
        for one in records
        if one.comparison is not None and any(each.gate == "speed" for each in one.verdicts)
    }
    comparisons = {case: one.comparison for case, one in judged.items() if one.comparison}
    against = {case: one.paired_with or "its reference" for case, one in judged.items()}
    verdicts = speed_verdicts(comparisons, against=against)

    def renewed(record: Record) -> Record:
        if record.case not in verdicts:
            return record
        verdict = verdicts[record.case]
        reason = "; ".join([verdict.reason, *record.marks])
        kept = tuple(one for one in record.verdicts if one.gate != "speed")
        return replace(record, verdicts=(*kept, replace(verdict, reason=reason)))

    return tuple(renewed(one) for one in records)


def _check_environments(runs: Mapping[Path, RunFile]) -> None:
    first_path, first = next(iter(runs.items()))
    for path, run in runs.items():
        for key in MUST_AGREE:
            here, there = first.environment.get(key), run.environment.get(key)
            if here != there:
                raise LatentcyError(
                    found=f"{key} {here} in {first_path} and {there} in {path}",
                    expected="shards of one run, with the same versions",
                    do="run the shards in the same environment",
                )
