"""The fault catalogue in runs side by side, each a file of tests of its own for its own worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentcy.core.record import Record
from latentcy.core.verdict import INCONCLUSIVE
from latentcy.faults.catalogue import FAULTS, HEALTHY
from latentcy.pipelines.devices.device import emulates, find_device
from latentcy.pipelines.variants.variant import Variant
from latentcy.report.fault_table import CAUGHT, Outcome, outcomes
from latentcy.suite.injection import injection
from whole_run import Outcome as Run
from whole_run import assert_no_traceback, benchmark_process

# In twenty steps each fault is still caught for its reason; docs/faults.md is of a run in fifty.
MINIATURE = ("--model=miniature", "--threads=1", "--image-steps=20")
NAMES = [fault.name for fault in FAULTS]

_CPU = find_device("cpu")


def _is_emulated(variant: Variant) -> bool:
    used = (variant.resolved_dtype(_CPU), variant.resolved_autocast(_CPU))
    return any(emulates(_CPU, dtype) for dtype in used if dtype)


_UNTIMED = [fault.name for fault in FAULTS if not fault.timed]
# A third of the controls, since each gets every gate; docs/faults.md is of a run with all of them.
_SOUND = [one.name for one in HEALTHY[::3] if not _is_emulated(one)]
# Every fault. What is timed has the machine to itself.
RUNS = {
    "one half": [*_UNTIMED[::2], *_SOUND[::2]],
    "other half": [*_UNTIMED[1::2], *_SOUND[1::2]],
    "timed": [fault.name for fault in FAULTS if fault.timed],
}


@dataclass(frozen=True)
class CatalogueRun:
    """A whole run of a part of the catalogue, and what became of each fault and control in it."""

    whole: Run
    found: Mapping[str, Outcome]
    undecided: tuple[str, ...]  # those of which one of its own gates was inconclusive

    def assert_caught(self, name: str) -> None:
        """The fault was caught by one of its own gates, for its reason."""
        found = self.found[name]
        asked = f"{' or '.join(found.expected.gates)} saying {found.expected.says!r}"
        failed = ", ".join(found.caught_by) or "no gate"
        said = f"{asked} was asked for, {failed} failed: {found.reason}"
        assert found.status == CAUGHT, said

    def assert_ends_with_its_table(self) -> None:
        """Exit status 1, and all faults of the run in the last lines."""
        faults = len(set(self.found) & set(NAMES))
        assert self.whole.status == 1
        assert f"{faults} of {faults} faults caught" in self.whole.text
        assert_no_traceback(self.whole)


def faults_of(run: str) -> list[str]:
    """The faults of one of RUNS."""
    return [name for name in RUNS[run] if name in NAMES]


def controls_of(run: str) -> list[str]:
    """The healthy controls of one of RUNS."""
    return [name for name in RUNS[run] if name not in NAMES]


def run_catalogue(folder: Path, run: str) -> CatalogueRun:
    """One of RUNS on the miniature."""
    # Speed is known after ten pairs, from which a machine at work shows no climb yet.
    return _run(folder, RUNS[run], *(["--pairs=40"] if run == "timed" else []))


def run_timed_catalogue(folder: Path) -> CatalogueRun:
    """The timed faults; what forty pairs left open, on a machine at work, gets five times as many.

    A gate that passed a fault is not asked again.
    """
    first = run_catalogue(folder, "timed")
    if not first.undecided:
        return first
    again = folder / "again"
    again.mkdir()
    longer = _run(again, first.undecided, "--pairs=200")
    return CatalogueRun(first.whole, {**first.found, **longer.found}, first.undecided)


def _run(folder: Path, chosen: Sequence[str], *options: str) -> CatalogueRun:
    names = ",".join(chosen)
    whole = benchmark_process(folder, *MINIATURE, *options, f"--inject={names}")
    data = json.loads((whole.results / "run.json").read_text(encoding="utf-8"))
    records = [Record.from_dict(one) for one in data["records"]]
    by_name = {record.variant: record for record in records}
    found = outcomes(records, injection(names).expected.values())
    undecided = tuple(
        one.expected.fault
        for one, record in ((one, by_name.get(one.expected.fault)) for one in found)
        if record and not one.by_right and _is_open(record, one.expected.gates)
    )
    return CatalogueRun(whole, {one.expected.fault: one for one in found}, undecided)


def _is_open(record: Record, gates: Sequence[str]) -> bool:
    return any(one.gate in gates and one.status == INCONCLUSIVE for one in record.verdicts)
