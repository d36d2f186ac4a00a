"""The decision on speed: cases timed in pairs are judged together, when all of them have been."""

from __future__ import annotations

import math
from collections.abc import Sequence

from latentcy.core.comparison import Comparison
from latentcy.core.pairs import Pairs
from latentcy.core.record import Record
from latentcy.core.settings import Settings
from latentcy.core.verdict import Verdict
from latentcy.gates.speed import compare, false_alarms, self_check_verdict, speed_verdicts
from latentcy.pipelines.case import Case
from latentcy.stats.paired_tests import proportion
from latentcy.suite.recorder import Recorder
from latentcy.suite.references import References

GATE, SELF_CHECK = "speed", "self-check"


class SpeedDecision:
    """Collects comparisons, and decides on all of them with one correction for their number."""

    def __init__(self, settings: Settings, recorder: Recorder, references: References) -> None:
        self._settings, self._recorder, self._references = settings, recorder, references
        self._compared: dict[str, tuple[Case, Comparison]] = {}
        self._trials: dict[str, tuple[Comparison, ...]] = {}
        self._open: dict[str, str] = {}
        self._notes: dict[str, Sequence[str]] = {}
        self._settled = False

    def add(
        self, case: Case, pairs: Pairs, *, looks: int, trials: Sequence[int], notes: Sequence[str]
    ) -> Comparison:
        """Compares a case's pairs, judged in so many looks; `notes` go into its verdict.

        `trials` are the pairs of each trial of a self-check.
        """
        self._settled = False
        tolerance = self._settings.speed_tolerance
        one = compare(pairs.reference, pairs.candidate, tolerance, looks=looks)
        self._notes[case.id] = (*notes, *_imprecise(one, self._settings.precision))
        if self._settings.self_check:
            self._trials[case.id] = tuple(
                compare(each.reference, each.candidate, tolerance, looks=looks)
                for each in pairs.split(trials)
            )
        elif self._references.promised(case):
            self._compared[case.id] = case, one
        return one

    def adopt(self, case: Case, record: Record) -> None:
        """Takes up a comparison that another process has made."""
        self._settled = False
        if record.comparison is not None and self._references.promised(case):
            self._compared[case.id] = case, record.comparison
            self._notes[case.id] = record.marks
            return
        reasons = [one.reason for one in record.verdicts if one.gate == GATE]
        self.leave_open(case, reasons[0] if reasons else "it was not timed")

    def leave_open(self, case: Case, why: str) -> None:
        """Says why nothing can be decided of a case."""
        self._open[case.id] = why
        self._compared.pop(case.id, None)

    def why_open(self, case: Case) -> str:
        """Why nothing can be decided of a case that was not compared."""
        return self._open.get(case.id) or self._references.missing(case) or "it was not timed"

    def verdict(self, case: Case) -> Verdict | None:
        """Slower, not slower or not known; None where the case promises nothing here."""
        if not self._references.promised(case):
            return None
        if self._settings.self_check:
            trials = self._trials.get(case.id, ())
            if not trials:
                return self._recorder.leave_open(case, SELF_CHECK, self.why_open(case))
            return self._noted(case, self_check_verdict(trials))
        if case.id not in self._compared:
            return self._recorder.leave_open(case, GATE, self.why_open(case))
        self.settle()
        return next(one for one in self._recorder.record_of(case).verdicts if one.gate == GATE)

    def settle(self) -> None:
        """Records the verdicts of all compared cases, also of those that no test asks for."""
        if self._settled or not self._compared:
            return
        verdicts = speed_verdicts(
            {name: one for name, (_, one) in self._compared.items()},
            gate=GATE,
            against={n: self._references.name(case) for n, (case, _) in self._compared.items()},
        )
        for name, verdict in verdicts.items():
            self._noted(self._compared[name][0], verdict)
        self._settled = True

    def sentence(self) -> str | None:
        """How often this machine gave a false alarm; None but in a self-check."""
        trials = [one for each in self._trials.values() for one in each]
        alarms, able = false_alarms(trials)
        if not trials:
            return None
        rate = ""
        if able:
            low, high = proportion(alarms, able)
            rate = f": {alarms / able:.1%} ({low:.1%} to {high:.1%}, exact 95 % interval)"
        return f"Self-check: {alarms} false alarms in {able} trials{rate}."

    def _noted(self, case: Case, verdict: Verdict) -> Verdict:
        reason = "; ".join([verdict.reason, *self._notes.get(case.id, ())])
        return self._recorder.add_verdict(case, Verdict(verdict.gate, verdict.status, reason))


def _imprecise(one: Comparison, asked: float) -> tuple[str, ...]:
    """That the precision asked for was not reached."""
    if not asked or one.nothing:
        return ()
    reached = math.sqrt(one.high / one.low) - 1
    return () if reached <= asked else (f"±{reached:.2%} reached, ±{asked:.2%} asked for",)
