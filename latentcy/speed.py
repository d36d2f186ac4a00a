"""Speed and memory of a run's cases: timed in pairs, held against references and baselines."""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from latentcy.case import Case
from latentcy.errors import LatentcyError
from latentcy.generate.conditions import Conditions, read
from latentcy.generate.device import Device, peak_memory
from latentcy.generate.pairing import Pairing, Pairs, time_pairs
from latentcy.generate.sampler import Sampler
from latentcy.generate.yardstick import Yardstick
from latentcy.judge.comparison import (
    Comparison,
    compare,
    false_alarms,
    self_check_verdict,
    speed_verdicts,
)
from latentcy.judge.stats import log_ratios, proportion
from latentcy.judge.verdicts import Verdict
from latentcy.ledger import Ledger
from latentcy.loaded import Loaded
from latentcy.planning import PILOT_PAIRS, Budget, Plan, plan_pairs
from latentcy.references import References, Timed
from latentcy.settings import Settings
from latentcy.timing import Timing, mean, yardstick_seconds

GATE = "speed"
NO_PROMISE_PAIRS = 7  # of a case that is measured, and promises nothing on this device


class Speed:
    """Times cases, and judges them when all have been timed; `cases` are those that run here."""

    def __init__(
        self,
        settings: Settings,
        *,
        device: Device,
        loaded: Loaded,
        ledger: Ledger,
        references: References,
        cases: Sequence[Case],
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._device = settings, device
        self._loaded, self._ledger, self._references = loaded, ledger, references
        self._say = say
        self._budget = Budget(settings.budget, sum(not references.missing(one) for one in cases))
        self._comparisons: dict[str, Comparison] = {}
        self._trials: dict[str, tuple[Comparison, ...]] = {}
        self._cases: dict[str, Case] = {}
        self._missing: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}
        self._outer = self._inner = 0.0

    def begin(self, case: Case) -> Timing:
        """Loads the case and its reference, warms both, and settles how many rounds are timed.

        Memory and stages are read first, while the case is alone in memory. Raises LatentcyError
        where the case itself cannot be loaded; without its reference it is timed alone.
        """
        sampler = self._loaded.sampler(case)
        self._look_at(case, sampler)
        yardstick = Yardstick(sampler.pipeline.unet.config, self._device)
        seconds = yardstick_seconds(yardstick)
        started = time.perf_counter()
        reference = self._open_reference(case)
        pairing, plan = None, Plan(self._rounds(case))
        conditions = read(self._device, ours=self._references.processes)
        if reference is not None:
            try:
                plan = self._plan(case, reference, sampler)
                pairing = Pairing(
                    reference.seconds,
                    pairs=plan.pairs,
                    seed=self._seed(case),
                    blocks=self._settings.trials if self._settings.self_check else 1,
                )
            except Exception:
                reference.close()
                raise
        return Timing(
            case=case,
            sampler=sampler,
            pairing=pairing,
            reference=reference,
            rounds=pairing.rounds if pairing else plan.pairs,
            note=plan.note,
            yardstick=yardstick,
            yardstick_before=seconds,
            conditions_before=conditions,
            started=started,
        )

    def end(self, timing: Timing, rounds: Sequence[float], *, inside: float) -> None:
        """Records the seconds of each round, the pairs, and what happened around them.

        `inside` is the seconds of the same rounds that were spent in the pipeline itself.
        """
        case = timing.case
        after = read(self._device, ours=self._references.processes)
        if timing.reference is not None:
            self._budget.spend(time.perf_counter() - timing.started)
        self._outer += sum(rounds)
        self._inner += inside
        conditions = Conditions(timing.conditions_before, after)
        self._notes[case.id] = [*([timing.note] if timing.note else []), *conditions.marks()]
        self._ledger.update(
            case,
            seconds=float(np.median(rounds)),
            rounds=tuple(rounds),
            yardstick_seconds=mean(timing.yardstick_before, yardstick_seconds(timing.yardstick)),
            conditions=conditions.to_dict(),
            marks=conditions.marks(),
        )
        timing.let_go()
        if timing.pairing is not None:
            self._compare(case, timing.pairing.pairs(rounds))
        elif self._references.speedups:
            self._ledger.update(case, speedup=self._speedup_of_medians(case))

    def cut_off(self, timing: Timing, rounds: Sequence[float]) -> None:
        """Keeps what was measured before an error in the middle of the rounds, and lets go."""
        with contextlib.suppress(Exception):  # the error itself counts
            if rounds:
                self.end(timing, rounds, inside=sum(rounds))
            else:
                timing.let_go()

    def verdict(self, case: Case) -> Verdict | None:
        """Slower, not slower or not known, with all timed cases judged together.

        None where the case promises nothing here. To be asked when all have been timed.
        """
        if self._settings.self_check:
            trials = self._trials.get(case.id)
            return self._ledger.judge(case, self_check_verdict(trials)) if trials else None
        if not self._references.promised(case):
            return None
        if case.id in self._comparisons:
            self._settle()
            return next(one for one in self._ledger.of(case).verdicts if one.gate == GATE)
        why = self._missing.get(case.id) or self._references.missing(case) or "it was not timed"
        return self._ledger.open_gate(case, GATE, why)

    def sentences(self) -> tuple[str, ...]:
        """What the run says of its own method: false alarms, and what timing itself cost."""
        lines = []
        trials = [one for each in self._trials.values() for one in each]
        if trials:
            alarms, able = false_alarms(trials)
            rate = ""
            if able:
                low, high = proportion(alarms, able)
                rate = f": {alarms / able:.1%} ({low:.1%} to {high:.1%}, exact 95 % interval)"
            lines.append(f"Self-check: {alarms} false alarms in {able} trials{rate}.")
        if self._inner:
            share = self._outer / self._inner - 1
            lines.append(f"Timing added {share:.3%} to the generations that were timed.")
        return tuple(lines)

    def _look_at(self, case: Case, sampler: Sampler) -> None:
        """Stages and peak memory of a warm generation, the case alone in memory."""
        if self._ledger.of(case).stages is not None:
            return
        work = case.workload
        prompts = [work.prompt] * len(work.seeds)
        sampler.generate()
        stages = sampler.observe(prompts, work.seeds, batch=len(prompts)).stages
        self._ledger.update(case, stages=stages, peak_bytes=self.peak(sampler))

    def peak(self, sampler: Sampler) -> int | None:
        """Peak memory of one generation, in bytes."""
        with peak_memory(self._device) as peak:
            sampler.generate()
        return peak.bytes

    def _open_reference(self, case: Case) -> Timed | None:
        if not self._settings.pairs:
            self._missing[case.id] = "no pairs were asked for (--pairs 0)"
        elif why := self._references.missing(case):
            self._missing[case.id] = why
        else:
            try:
                return self._references.open(case)
            except LatentcyError as error:
                self._missing[case.id] = f"its reference cannot be loaded: {error.found}"
        return None

    def _plan(self, case: Case, reference: Timed, sampler: Sampler) -> Plan:
        """Warms both sides, and times a pilot where a precision is asked for."""
        promised = self._references.promised(case)
        asked = self._settings.pairs if promised else min(self._settings.pairs, NO_PROMISE_PAIRS)
        reference.seconds()
        pair_seconds = reference.seconds() + sampler.seconds()
        precision = self._settings.precision if promised else 0.0
        pilot: Sequence[float] = ()
        if precision:
            timed = time_pairs(
                reference.seconds, sampler.seconds, pairs=PILOT_PAIRS, seed=self._seed(case) + 1
            )
            pilot = tuple(log_ratios(timed.reference, timed.candidate))
            pair_seconds = (sum(timed.reference) + sum(timed.candidate)) / PILOT_PAIRS
        times = self._settings.trials if self._settings.self_check else 1
        plan = plan_pairs(
            asked=asked,
            precision=precision,
            pilot=pilot,
            pair_seconds=pair_seconds * times,
            allowed_seconds=self._budget.share(),
        )
        many = f"{times} x {plan.pairs}" if times > 1 else f"{plan.pairs}"
        self._say(f"{case.label}: {many} pairs of about {pair_seconds:.2g} s")
        return plan

    def _compare(self, case: Case, pairs: Pairs) -> None:
        tolerance = self._settings.speed_tolerance
        one = compare(pairs.reference, pairs.candidate, tolerance)
        if self._settings.self_check:
            blocks = pairs.blocks(len(pairs) // self._settings.trials)
            self._trials[case.id] = tuple(
                compare(block.reference, block.candidate, tolerance) for block in blocks
            )
        elif self._references.promised(case):
            self._comparisons[case.id] = one
            self._cases[case.id] = case
        speedup = None
        if self._references.speedups:
            known = math.isfinite(one.ratio)
            speedup = 1 / one.ratio if known else self._speedup_of_medians(case)
        self._ledger.update(
            case,
            pairs=pairs,
            comparison=one,
            paired_with=self._references.name(case),
            speedup=speedup,
        )

    def _settle(self) -> None:
        """Judges all compared cases together, and records it."""
        names = {one: self._references.name(case) for one, case in self._cases.items()}
        verdicts = speed_verdicts(self._comparisons, gate=GATE, against=names)
        for name, verdict in verdicts.items():
            notes = self._notes.get(name, [])
            reason = "; ".join([verdict.reason, *notes])
            self._ledger.judge(self._cases[name], Verdict(GATE, verdict.status, reason))

    def _speedup_of_medians(self, case: Case) -> float | None:
        """Over the reference's median, where that was timed in this run."""
        own = self._ledger.of(case).seconds
        wanted = f"/{case.variant.group}/{case.variant.reference}"
        for record in self._ledger.records:
            if record.case.endswith(wanted) and record.seconds and own:
                return record.seconds / own
        return None

    def _rounds(self, case: Case) -> int:
        """Of a case without a pair: as published, but at least five of a single image."""
        least = 5 if len(case.workload.seeds) == 1 else 3
        return self._settings.rounds or max(case.workload.repeats, least)

    def _seed(self, case: Case) -> int:
        """Of the order of the case's pairs; from the run's and the case's own id."""
        return self._settings.order_seed + zlib.crc32(case.id.encode())
