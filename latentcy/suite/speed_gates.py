"""Speed and memory of a run's cases: each timed in pairs with what it is held against."""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from latentcy.core.costs import Calls, Costs
from latentcy.core.errors import LatentcyError
from latentcy.core.pairs import Pairs
from latentcy.core.record import Record
from latentcy.core.settings import Settings
from latentcy.core.verdict import Verdict
from latentcy.gates.invariants.growth import climbing_verdict
from latentcy.gates.speed import CONFIDENCE, compare, is_decided
from latentcy.measure.architecture_flops import unet_calls
from latentcy.measure.components import components
from latentcy.measure.flops import count_flops
from latentcy.measure.machine_speed import Yardstick
from latentcy.measure.pairing import Pairing, time_pairs
from latentcy.measure.peak_flops import PeakFlopsCache
from latentcy.measure.profiler_trace import write_trace
from latentcy.measure.tensor_memory import peak_tensor_bytes
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.conditions import Conditions, read
from latentcy.pipelines.devices.device import Device, free, is_out_of_memory
from latentcy.pipelines.devices.memory import watched_memory
from latentcy.pipelines.families import denoiser_of
from latentcy.pipelines.optimizations.compilation import compile_failure, is_compile_failure
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import stage_seconds, with_few_steps
from latentcy.stats.looks import Looks, looks_for
from latentcy.stats.paired_tests import log_ratios
from latentcy.suite.active_pipeline import ActivePipeline
from latentcy.suite.pair_budget import PILOT_PAIRS, Budget, Plan, plan_pairs
from latentcy.suite.recorder import Recorder
from latentcy.suite.references import References, TimedGenerator
from latentcy.suite.run_time import RunTime
from latentcy.suite.speed_decision import SpeedDecision
from latentcy.suite.timed_case import TimedCase, steady_mean, yardstick_seconds

FIXED_PAIRS = 20  # where a precision is asked for that a budget cannot reach
TRACED_STEPS = 3  # they are alike, and a trace of fifty is too large for its viewer


class SpeedGates:
    """Times cases, and judges them when all have been timed."""

    def __init__(
        self,
        settings: Settings,
        *,
        device: Device,
        loaded: ActivePipeline,
        recorder: Recorder,
        references: References,
        say: Callable[[str], None],
        time: RunTime,
    ) -> None:
        self._time = time
        self._settings, self._device = settings, device
        self._loaded, self._recorder, self._references = loaded, recorder, references
        self._say = say
        self._decision = SpeedDecision(settings, recorder, references)
        self._budget = Budget(settings.budget)
        self._promised = 1
        self._peaks = PeakFlopsCache(device)
        self._outer = self._inner = 0.0

    def expect(self, cases: Sequence[Case], *, together: Sequence[Case] = ()) -> None:
        """Tells which cases will be timed, to share the budget and to plan for their number.

        `together` are those of the whole run where this process times a part of it: speed is
        decided among all of them, so no case may stop on a level that holds for fewer.
        """
        paired = [one for one in cases if self._why_alone(one) is None]
        self._budget = Budget(self._settings.budget, tuple(one.id for one in paired))
        promised = [one for one in (*cases, *together) if self._references.promised(one)]
        judged = {one.id for one in promised if not self._references.missing(one)}
        self._promised = max(1, len(judged))

    def is_paired(self, case: Case) -> bool:
        """Whether the case will be timed in pairs."""
        return self._why_alone(case) is None

    def is_left_out(self, case: Case) -> bool:
        """Whether there is no time to time the case; what that leaves open says so."""
        why = self._time.left_out(case, "latency")
        if why is not None:
            self._decision.leave_open(case, why)
        return why is not None

    def calls(self, case: Case) -> int:
        """How often the case is timed where nothing is paired."""
        return self._rounds(case)

    def begin(self, case: Case) -> TimedCase:
        """Loads the case and its reference, warms both, and settles how many rounds are timed.

        Memory and stages are read first, while the case is alone in memory. Raises LatentcyError
        where the case itself cannot be loaded, or another environment's process is lost; where
        its reference cannot be used for another reason it is timed alone.
        """
        sampler = self._loaded.sampler(case)
        self.look_at(case)
        yardstick = Yardstick(denoiser_of(sampler.pipeline).config, self._device)
        seconds = yardstick_seconds(yardstick)
        conditions = read(self._device, ours=self._references.processes)
        plan, pairing = Plan(Looks((self._rounds(case),))), None
        with self._budget.spending(case.id):
            reference = self._warm_reference(case, sampler)
            if reference is not None:
                plan, pairing = self._pair(case, reference, sampler)
        return TimedCase(
            case=case,
            sampler=sampler,
            pairing=pairing,
            reference=reference,
            plan=plan,
            yardstick=yardstick,
            yardstick_before=seconds,
            conditions_before=conditions,
        )

    def end(self, timing: TimedCase, rounds: Sequence[float], *, cut_off: bool = False) -> None:
        """Records the seconds of each round, the pairs, and what happened around them."""
        case = timing.case
        self._budget.spend(case.id, time.perf_counter() - timing.started)
        after = read(self._device, ours=self._references.processes)
        conditions = Conditions(timing.conditions_before, after)
        with contextlib.closing(timing):
            steady, drift = steady_mean(
                timing.yardstick_before, yardstick_seconds(timing.yardstick)
            )
        marks = (*conditions.marks(), *([drift] if drift else []))
        self._outer += sum(rounds)
        self._inner += timing.inside
        self._recorder.update(
            case,
            seconds=float(np.median(rounds)),
            rounds=tuple(rounds),
            yardstick_seconds=steady,
            conditions=conditions.to_dict(),
            marks=marks,
        )
        if timing.pairing is not None:
            self._compare(timing, rounds, marks, cut_off=cut_off)
        elif self._references.speedups:
            self._recorder.update(case, speedup=self._speedup_of_medians(case))

    def cut_off(self, timing: TimedCase, rounds: Sequence[float]) -> None:
        """Keeps what was measured before an error in the middle of the rounds, and lets go."""
        with contextlib.suppress(Exception), contextlib.closing(timing):  # the error itself counts
            if rounds:
                self.end(timing, rounds, cut_off=True)

    def verdict(self, case: Case) -> Verdict | None:
        """Slower, not slower or not known, with all timed cases judged together.

        None where the case promises nothing here. To be asked when all have been timed.
        """
        return self._decision.verdict(case)

    def climbing(self, case: Case) -> Verdict | None:
        """Whether latency climbs from pair to pair; None where none were timed, or none is due."""
        pairs = self._recorder.record_of(case).pairs
        if pairs is None or not self._references.promised(case):
            return None
        return self._recorder.add_verdict(case, climbing_verdict(pairs))

    def adopt(self, case: Case, record: Record) -> None:
        """Takes up what another process has measured of a case."""
        self._decision.adopt(case, record)

    def settle(self) -> None:
        """Records the verdicts that no test has asked for."""
        self._decision.settle()

    def sentences(self) -> tuple[str, ...]:
        """What the run says of its own method: false alarms, and what timing itself cost."""
        checked = self._decision.sentence()
        lines = [checked] if checked else []
        if self._inner:
            share = self._outer / self._inner - 1
            lines.append(f"Timing added {share:.3%} to the generations that were timed.")
        return tuple(lines)

    def look_at(self, case: Case) -> None:
        """Reads what the case costs, once, alone in memory and before anything is timed."""
        if self._recorder.record_of(case).costs is not None:
            return
        sampler = self._loaded.sampler(case)
        steps = self._time.of(case).call_steps
        with with_few_steps(sampler, steps) as short:
            first = short.seconds()
            stages = stage_seconds(short)
            with watched_memory(self._device) as watched:
                warm = short.seconds()
        memory = replace(watched.memory, peak_tensor_bytes=peak_tensor_bytes(sampler))
        flops = count_flops(sampler)
        if steps is not None:
            ran = unet_calls(sampler.pipeline.scheduler, steps)
            stages = _of_all_steps(stages, ran, flops.unet_calls)
        self._recorder.update(case, stages=stages, peak_bytes=memory.peak_bytes)
        costs = Costs(
            calls=Calls(self._loaded.load_seconds, first, warm, steps),
            stages=stages,
            flops=flops,
            peak=self._peaks.of(case.variant),
            memory=memory,
            components=components(sampler.pipeline),
        )
        self._recorder.update(case, costs=costs)
        if self._settings.trace:
            place = self._settings.results / "traces" / f"{case.label}.json.gz"
            self._say(f"{case.label}: trace {write_trace(sampler, place, steps=TRACED_STEPS)}")

    def _warm_reference(self, case: Case, sampler: Sampler) -> TimedGenerator | None:
        """The reference, loaded and warm; None where it cannot be used, with the reason kept."""
        why = self._why_alone(case)
        if why:
            self._decision.leave_open(case, why)
            return None
        reference: TimedGenerator | None = None
        try:
            reference = self._references.open(case, beside=sampler)
            reference.seconds()
            return reference
        except Exception as error:
            if self._references.lost(error):
                raise
            if reference is not None:
                reference.close()
            free(self._device)
            self._decision.leave_open(case, f"its reference cannot be used: {_reason(error)}")
            return None

    def _why_alone(self, case: Case) -> str | None:
        """Why the case is timed alone; None where it is timed in pairs."""
        if why := self._references.missing(case):
            return why
        if self._settings.pairs == 0:
            return "no pairs were asked for (--pairs 0)"
        if self._settings.pairs is None and not self._references.promised(case):
            return "it promises no speed here (--pairs N times it in pairs all the same)"
        return None

    def _pair(
        self, case: Case, reference: TimedGenerator, sampler: Sampler
    ) -> tuple[Plan, Pairing]:
        try:
            plan = self._plan(case, reference, sampler)
        except BaseException:
            reference.close()
            raise
        tolerance, looks = self._settings.speed_tolerance, plan.looks

        def is_known(pairs: Pairs) -> bool:
            one = compare(pairs.reference, pairs.candidate, tolerance, looks=looks.count)
            return bool(one.nothing) or is_decided(one, looks.cases)  # a clock that stands still

        return plan, Pairing(
            reference.seconds,
            increments=looks.increments,
            seed=self._seed(case),
            trials=self._trials,
            is_known=is_known,
        )

    @property
    def _trials(self) -> int:
        return self._settings.trials if self._settings.self_check else 1

    def _plan(self, case: Case, reference: TimedGenerator, sampler: Sampler) -> Plan:
        """After how many pairs it is judged, by one more generation of each side."""
        pair_seconds = reference.seconds() + sampler.seconds()
        if self._settings.pairs is None and not self._settings.precision:
            cases = 1 if self._settings.self_check else self._promised
            plan = Plan(looks_for(cases, CONFIDENCE))
            many = f"pairs of about {pair_seconds:.2g} s until it is known, at most {plan.pairs}"
        else:
            plan = self._fixed(case, reference, sampler, pair_seconds)
            many = f"{plan.pairs} pairs of about {pair_seconds:.2g} s"
        times = f"{self._trials} times " if self._trials > 1 else ""
        self._say(f"{case.label}: {times}{many}")
        allowed = [self._budget.share(case.id), self._time.timing(case)]
        known = [one for one in allowed if one is not None]
        return replace(plan, seconds=min(known) if known else None)

    def _fixed(
        self, case: Case, reference: TimedGenerator, sampler: Sampler, pair_seconds: float
    ) -> Plan:
        """A fixed number, by a pilot where a precision is asked for."""
        promised = self._references.promised(case)
        settings = self._settings
        times = self._trials
        allowed = self._budget.share(case.id)
        precision = settings.precision if promised else 0.0
        if precision and allowed is not None and allowed < (PILOT_PAIRS + 7) * pair_seconds * times:
            precision = 0.0  # a pilot would leave nothing to decide with
        pilot: Sequence[float] = ()
        if precision:
            timed = time_pairs(
                reference.seconds,
                sampler.seconds,
                increments=(PILOT_PAIRS,),
                seed=self._seed(case) + 1,
            )
            pilot = tuple(log_ratios(timed.reference, timed.candidate))
            allowed = self._budget.share(case.id)
        return plan_pairs(
            asked=settings.pairs or FIXED_PAIRS,
            precision=precision,
            pilot=pilot,
            pair_seconds=pair_seconds * times,
            allowed_seconds=allowed,
            cases=self._promised if promised and not settings.self_check else 1,
        )

    def _compare(
        self, timing: TimedCase, rounds: Sequence[float], marks: Sequence[str], *, cut_off: bool
    ) -> None:
        assert timing.pairing is not None
        case, pairs = timing.case, timing.pairing.pairs(rounds)
        notes = [one for one in (timing.plan.note, timing.stopped, *marks) if one]
        looks = timing.plan.looks.count
        trials = timing.pairing.sizes
        one = self._decision.add(case, pairs, looks=looks, trials=trials, notes=notes)
        if len(timing.plan.looks.pairs) > 1:
            self._say(f"{case.label}: {len(pairs)} pairs; {one.size} than its reference")
        if cut_off:
            why = f"its timing was cut off after {len(pairs)} of {timing.rounds} pairs"
            self._decision.leave_open(case, why)
        speedup = None
        if self._references.speedups:
            known = math.isfinite(one.ratio)
            speedup = 1 / one.ratio if known else self._speedup_of_medians(case)
        self._recorder.update(
            case,
            pairs=pairs,
            comparison=one,
            paired_with=self._references.name(case),
            speedup=speedup,
        )

    def _speedup_of_medians(self, case: Case) -> float | None:
        """Over the reference's median, where that was timed in this run."""
        own = self._recorder.record_of(case).seconds
        wanted = f"/{case.variant.group}/{case.variant.reference}"
        for record in self._recorder.records:
            if record.case.endswith(wanted) and record.seconds and own:
                return record.seconds / own
        return None

    def _rounds(self, case: Case) -> int:
        """Of a case without a pair: as published, but at least five of a single image."""
        least = 5 if len(case.workload.seeds) == 1 else 3
        asked = self._settings.rounds or max(case.workload.repeats, least)
        return self._time.of(case).timed or asked

    def _seed(self, case: Case) -> int:
        """Of the order of the case's pairs; from the run's and the case's own id."""
        return self._settings.order_seed + zlib.crc32(case.id.encode())


def _of_all_steps(
    stages: Mapping[str, float], ran: int | None, whole: int | None
) -> dict[str, float]:
    """Seconds by stage of a whole generation, from those of one with fewer calls of the UNet."""
    more = whole / ran if whole and ran else 1.0
    return {name: one * (more if name == "denoising" else 1) for name, one in stages.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, LatentcyError):
        return error.found
    if is_out_of_memory(error):
        return "memory ran out with both pipelines loaded (--pairs 0 times the case alone)"
    if is_compile_failure(error):
        return compile_failure(error, "it").found
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
