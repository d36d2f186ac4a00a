"""Whether a case is sound in itself: its invariants, whatever it is compared with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from latentcy.core.settings import Settings
from latentcy.core.verdict import INCONCLUSIVE, Verdict
from latentcy.gates.invariants import generators, placement
from latentcy.gates.invariants import repeatability as sameness
from latentcy.gates.invariants.dtypes import dtype_verdict
from latentcy.gates.invariants.growth import growth_verdict
from latentcy.gates.invariants.operators import (
    Counters,
    count,
    operators_verdict,
    same_computation,
    syncs_verdict,
)
from latentcy.gates.invariants.schedule import schedule_verdict
from latentcy.gates.invariants.switches import switches_verdict
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.compiled import is_compiled
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model, lacking
from latentcy.pipelines.sampler import Sampler, untimed
from latentcy.pipelines.stages import with_few_steps
from latentcy.remote.environment import OtherEnvironment, import_folders
from latentcy.store.baseline_store import BaselineStore
from latentcy.suite.active_pipeline import ActivePipeline
from latentcy.suite.recorder import Recorder
from latentcy.suite.references import open_there, spec
from latentcy.suite.run_time import RunTime

# Each draws a few images in so many steps at most, and needs one loaded sampler.
DRAWING: Mapping[str, Callable[..., Verdict]] = {
    "repeat": sameness.repeat,
    "batch": sameness.batch,
    "history": sameness.history,
    "seed": sameness.seed,
    "generator": generators.generator,
}
# Each looks at one loaded sampler, in a number of steps of its own.
LOOKING: Mapping[str, Callable[[Sampler], Verdict]] = {
    "dtype": dtype_verdict,
    "growth": growth_verdict,
}


class InvariantGates:
    """Judges the invariants of a run's cases; `close` ends the process that one of them needs."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: Model,
        device: Device,
        cases: Sequence[Case],
        loaded: ActivePipeline,
        recorder: Recorder,
        baseline_store: BaselineStore,
        time: RunTime,
    ) -> None:
        self._time = time
        self._settings, self._model, self._device = settings, model, device
        self._cases, self._loaded, self._recorder, self._baseline_store = (
            cases,
            loaded,
            recorder,
            baseline_store,
        )
        self._counted: dict[str, Counters] = {}
        self._place: OtherEnvironment | None = None

    def verdict(self, case: Case, gate: str) -> Verdict:
        """One of `DRAWING` or `LOOKING`. What a generation raises is raised."""

        def judge(sampler: Sampler) -> Verdict:
            if gate in LOOKING:
                return LOOKING[gate](sampler)
            return DRAWING[gate](sampler, steps=self._time.of(case).invariant_steps)

        return self._judged(case, gate, judge)

    def schedule(self, case: Case) -> Verdict:
        """Whether a generation takes the steps that the model's files state."""

        def judge(sampler: Sampler) -> Verdict:
            with with_few_steps(sampler, self._time.of(case).call_steps) as short:
                return schedule_verdict(short)

        return self._judged(case, "schedule", judge)

    def switches(self, case: Case) -> Verdict:
        """Whether switches, hooks and weights are as stated, and as they were loaded."""
        return self._judged(
            case, "switches", lambda sampler: switches_verdict(sampler, self._loaded.as_loaded)
        )

    def placement(self, case: Case) -> Verdict:
        """Whether slicing or offloading changes the image."""

        def judge(sampler: Sampler) -> Verdict:
            steps = self._time.of(case).invariant_steps
            return placement.placement(sampler, lambda: self._loaded.another(case), steps=steps)

        return self._judged(case, "placement", judge)

    def new_process(self, case: Case) -> Verdict:
        """Whether another process draws the same image."""
        if why := self._left_out(case, "new process"):
            return self._recorder.leave_open(case, "new process", why)
        sampler = self._loaded.sampler(case)
        if is_compiled(sampler.pipeline):
            why = "it is compiled, which another process would have to do anew"
            return self._recorder.add_verdict(case, Verdict("new process", INCONCLUSIVE, why))

        def elsewhere(prompts: Sequence[str], seeds: Sequence[int], steps: int) -> np.ndarray:
            if self._place is None:
                self._place = OtherEnvironment(
                    sys.executable,
                    device=spec(self._device),
                    threads=self._device.threads,
                    folders=import_folders(),
                )
            short = replace(case, workload=replace(case.workload, steps=steps))
            there = open_there(self._place, self._settings, self._model, self._device, short)
            try:
                return there.images(prompts, seeds)
            finally:
                there.close()

        steps = self._time.of(case).invariant_steps
        return self._recorder.add_verdict(
            case, sameness.new_process(sampler, elsewhere, steps=steps)
        )

    def synchronisations(self, case: Case) -> Verdict:
        """Whether a step waits for the device more often than the reference's, or than stored."""
        if why := self._left_out(case, "syncs"):
            return self._recorder.leave_open(case, "syncs", why)
        own, stored = self._count(case), self._stored(case)
        verdict = syncs_verdict(own, reference=self._counted_reference(case), stored=stored)
        return self._recorder.add_verdict(case, verdict)

    def operators(self, case: Case) -> Verdict | None:
        """Whether a step runs more operators than stored, or than the reference's.

        None where the variant promises no such thing and nothing is stored.
        """
        if why := self._left_out(case, "syncs"):  # they are counted together
            return self._recorder.leave_open(case, "operators", why)
        own, stored = self._count(case), self._stored(case)
        reference = self._reference(case)
        alike = reference is not None and same_computation(
            case.variant, reference.variant, self._device
        )
        if reference is not None and not alike and stored is None:
            return None
        verdict = operators_verdict(
            own,
            reference=self._counted_reference(case),
            stored=stored,
            same_computation=alike,
        )
        return self._recorder.add_verdict(case, verdict)

    def leaks(self, case: Case) -> Verdict:
        """Whether the case, now closed, left global state behind."""
        return self._recorder.add_verdict(case, self._loaded.left_behind(case))

    def close(self) -> None:
        """Ends the other process, if there is one."""
        place, self._place = self._place, None
        if place is not None:
            place.close()

    def _left_out(self, case: Case, gate: str) -> str | None:
        """Why there is no time for a gate; the record says what has become of the plan."""
        planned = self._time.of(case)
        why = self._time.left_out(case, gate)
        if self._time.of(case) != planned:
            self._recorder.update(case, plan=self._time.of(case).to_dict())
        return why

    def _judged(self, case: Case, gate: str, judge: Callable[[Sampler], Verdict]) -> Verdict:
        """The gate's verdict, or why there was no time for it."""
        if why := self._left_out(case, gate):
            return self._recorder.leave_open(case, gate, why)
        sampler = self._loaded.sampler(case)
        with untimed(sampler):
            return self._recorder.add_verdict(case, judge(sampler))

    def _count(self, case: Case) -> Counters:
        if case.id not in self._counted:
            sampler = self._loaded.sampler(case)
            with untimed(sampler):
                self._counted[case.id] = count(sampler)
            self._recorder.update(case, counters=self._counted[case.id].to_dict())
        return self._counted[case.id]

    def _stored(self, case: Case) -> Counters | None:
        """The counters stored last for this device; None where there are none."""
        stored = self._baseline_store.stored(case)
        found = [run.counters for run in stored.runs if run.counters] if stored else []
        return Counters.from_dict(found[-1]) if found else None

    def _reference(self, case: Case) -> Case | None:
        """The case's reference; None where it is its own, or cannot run here."""
        wanted = f"{self._model.name}/{case.variant.group}/{case.variant.reference}"
        reference = next(other for other in self._cases if other.id == wanted)
        refused = reference.variant.refusal(self._device) or lacking(self._model, reference.variant)
        return None if reference.id == case.id or refused else reference

    def _counted_reference(self, case: Case) -> Counters | None:
        reference = self._reference(case)
        if reference is None:
            return None
        if reference.id not in self._counted:
            sampler = self._loaded.another(reference)
            try:
                self._counted[reference.id] = count(sampler)
            finally:
                sampler.close()
        return self._counted[reference.id]
