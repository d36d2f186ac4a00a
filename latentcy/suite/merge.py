"""Several runs of disjoint cases made one: the shards of one run, measured on several machines."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.run_info import About
from latentcy.gates.speed import speed_verdicts
from latentcy.store.results import RunFile, read_run

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
    about = _about(tuple(runs.values()))
    return RunFile(reason, first.environment, judge_again(tuple(records.values())), about)


def copy_images(paths: Sequence[Path], out: Path) -> None:
    """Copies the images of each run to `out`, those that are there.

    Raises LatentcyError where they cannot be read or written.
    """
    for path in paths:
        home = path if path.is_dir() else path.parent
        try:
            for place in sorted((home / "images").glob("*/")):
                shutil.copytree(place, out / "images" / place.name, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise LatentcyError(
                found=f"{home / 'images'}, which cannot be copied to {out} "
                f"({getattr(error, 'strerror', None) or error})",
                expected="folders that this user may read and write, on a disk with room",
                do="name another folder with --out; the merged run.json is written",
            ) from error


def _about(runs: Sequence[RunFile]) -> About | None:
    """The first one's identity, but for an id of their own, the same for the same runs."""
    known = [one.about for one in runs if one.about]
    if len(known) < 2:
        return known[0] if known else None
    ids = "\n".join(sorted(one.id for one in known))
    started = min(one.started for one in known)
    cut = "; ".join(one.interrupted for one in known if one.interrupted)
    own = sha256(ids.encode()).hexdigest()[:32]
    return replace(known[0], id=own, started=started, interrupted=cut)


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
