"""A run: the cases of one session, generated, judged and recorded one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from latentcy.core.gates import TIMED_GATES
from latentcy.core.record import Record
from latentcy.core.run_info import about_now
from latentcy.core.settings import Settings
from latentcy.core.verdict import FAILED, INCONCLUSIVE, Verdict
from latentcy.gates.latency import LatencyMeasurement, latency_verdict
from latentcy.gates.memory import TensorMemory, memory_verdict
from latentcy.gates.published_claims import Evidence, Finding, findings
from latentcy.measure.tensor_memory import peak_tensor_bytes
from latentcy.pipelines import time_spent as spent
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import environment, tf32_switches
from latentcy.pipelines.models.catalog import Model, lacking
from latentcy.pipelines.prompts import chosen_prompts
from latentcy.pipelines.variants import GROUP_WORKLOADS, Variant
from latentcy.pipelines.workload import workload
from latentcy.store.baseline_store import BaselineStore
from latentcy.store.published_tables import published
from latentcy.store.results import Results
from latentcy.suite.active_pipeline import ActivePipeline
from latentcy.suite.golden_images import GoldenImages
from latentcy.suite.invariant_gates import InvariantGates
from latentcy.suite.observations import Observer
from latentcy.suite.probe import Probe
from latentcy.suite.quality_gates import QualityGates
from latentcy.suite.recorder import Recorder
from latentcy.suite.references import (
    EnvironmentReference,
    References,
    SelfReference,
    VariantReference,
)
from latentcy.suite.run_plan import ImagePlan
from latentcy.suite.run_time import MINUTES, RunTime
from latentcy.suite.selection import chosen_cases, chosen_variants
from latentcy.suite.speed_gates import SpeedGates
from latentcy.suite.target import fetch_weights, resolve_target

NO_END = "it was ended before it could say how far it came"


class Run:
    """The cases of one session, and everything measured so far.

    Args:
        settings: what is asked for.
        say: takes one line of progress.

    Raises:
        LatentcyError: a setting names what cannot be had.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None] = lambda line: None) -> None:
        self.settings = settings
        self._tf32_defaults = tf32_switches()  # before anything here has switched it
        self.variants = chosen_variants(settings)
        self.device, self.model, self.reason = resolve_target(settings)
        fetch_weights(self.model, self.variants)
        self.environment = environment(self.device)
        chosen = chosen_prompts(
            self.model, settings.prompts_file, settings.images, first_seed=settings.first_seed
        )
        self.prompts = chosen.prompts
        for note in chosen.notes:
            say(f"{settings.prompts_file}: {note}")
        about = about_now(
            Path(), command=settings.command, prompts=chosen.prompts, seeds=chosen.seeds
        )
        self.results = Results(settings.results, replace(about, interrupted=NO_END))
        self.observer = Observer(
            self.model,
            self.device,
            chosen.prompts,
            chosen.seeds,
            self.results,
            say,
            batch=settings.batch,
        )
        self.golden_images = GoldenImages(
            settings,
            model=self.model,
            device=self.device,
            environment=self.environment,
            observer=self.observer,
        )
        self.baseline_store = BaselineStore(settings, self.device, self.model, self.environment)
        self.loaded = ActivePipeline(self.model, self.device)
        self.cases = tuple(self._case(variant) for variant in self.variants)
        self.time = RunTime(
            _minutes(settings, self.model),
            {case.id: self._asked_images(case) for case in self.cases},
        )
        self._say = say
        self.chosen = chosen_cases(self.cases, settings)
        self.recorder = Recorder(
            model=self.model,
            device=self.device,
            environment=self.environment,
            results=self.results,
            reason=self.reason,
            cases=self.cases,
        )
        self._unsuitable: dict[str, str] = {}  # by case, why one of our optimizations does not suit
        self.references = self._references(say)
        self.speed = SpeedGates(
            settings,
            device=self.device,
            loaded=self.loaded,
            recorder=self.recorder,
            references=self.references,
            say=say,
            time=self.time,
        )
        self.quality = QualityGates(
            model=self.model,
            device=self.device,
            cases=self.cases,
            loaded=self.loaded,
            recorder=self.recorder,
            observer=self.observer,
            references=self.references,
            time=self.time,
        )
        self.invariants = InvariantGates(
            settings,
            model=self.model,
            device=self.device,
            cases=self.cases,
            loaded=self.loaded,
            recorder=self.recorder,
            baseline_store=self.baseline_store,
            time=self.time,
        )
        self._held: dict[str, int] = {}  # bytes of tensors, by case
        self._opened, self._spent_before = time.perf_counter(), spent.so_far()

    @property
    def records(self) -> tuple[Record, ...]:
        """The records so far, in the order of the cases."""
        return self.recorder.records

    def expect(self, due: Mapping[str, Collection[str]]) -> None:
        """Tells which gates of which cases are due, by the case's id, and plans the run."""
        runnable = [case for case in self.chosen if case.id in due and not self.why_not(case)]
        timed = [case for case in runnable if not TIMED_GATES.isdisjoint(due[case.id])]
        part = self.settings.case is not None or self.settings.shard != (1, 1)
        every = [case for case in self.cases if not self.why_not(case)] if part else []
        self.speed.expect(timed, together=every)
        if not self.time.limited or not runnable:
            return
        probe = Probe(
            self.device,
            self.loaded,
            calls={case.id: self.speed.calls(case) for case in runnable},
            references={case.id: self._paired_with(case) for case in runnable},
        )
        for line in self.time.plan(probe.costs(runnable, due)):
            self._say(line)

    def begin(self, case: Case) -> None:
        """Notes that the case is at work from now on, and what it gets."""
        self.time.begin(case)
        if self.time.limited:
            self.recorder.update(case, plan=self.time.of(case).to_dict())

    def refusal(self, case: Case) -> str | None:
        """Why the case cannot run here, recorded as skipped; None where it can."""
        reason = self.why_not(case)
        if reason:
            self.recorder.update(case, skipped=reason)
        return reason

    def why_not(self, case: Case) -> str | None:
        """Why the case cannot run here; None where it can."""
        own = case.variant.refusal(self.device) or lacking(self.model, case.variant)
        return own or self._unsuitable.get(case.id)

    def leave_out(self, case: Case, reason: str) -> None:
        """Skips a case from here on, as one that this model cannot have."""
        self._unsuitable[case.id] = reason
        self.refusal(case)

    def latency(self, case: Case) -> Verdict | None:
        """Holds the median of a case that `speed` has timed against the baselines.

        None where the variant's speed is not gated, and in a self-check.
        """
        if self.settings.self_check:
            return None
        if why := self.time.left_out(case, "latency"):
            return self.recorder.leave_open(case, "latency", why)
        record = self.recorder.record_of(case)
        assert record.seconds is not None  # timed before it is judged
        if self.settings.record:
            return self.recorder.add_verdict(case, self._record(case))
        if not case.variant.speed_gated:
            return None
        name = self.model.published_as
        row = published(name, case.variant.group, case.variant.name) if name else None
        measured = LatencyMeasurement(
            rounds=record.rounds,
            fingerprint=self.baseline_store.fingerprint(case, record.paired_with),
            versions=self.baseline_store.versions,
            yardstick_seconds=record.yardstick_seconds,
            marks=record.marks,
            speedup=record.speedup,
            device_name=self.device.name,
            model=name or self.model.name,
        )
        stored, tolerance = self.baseline_store.stored(case), self.settings.latency_tolerance
        verdict = latency_verdict(measured, stored, tolerance, published=row)
        return self.recorder.add_verdict(case, verdict)

    def stored_images(self, case: Case) -> Verdict | None:
        """Holds the images against those stored; None where the case has none of its own."""
        verdict = self.golden_images.verdict(case, self.quality.observation(case))
        return None if verdict is None else self.recorder.add_verdict(case, verdict)

    def memory(self, case: Case) -> Verdict:
        """Holds the peak memory against the stored baseline."""
        self.speed.look_at(case)
        verdict = memory_verdict(
            self.recorder.record_of(case).peak_bytes,
            self.baseline_store.stored(case),
            self.settings.memory_tolerance,
            tensors=self._tensors(case),
            fingerprint=self.baseline_store.fingerprint(case, None),
            versions=self.baseline_store.versions,
        )
        return self.recorder.add_verdict(case, verdict)

    def claims(self) -> tuple[Finding, ...]:
        """The published page's claims, as far as this run can judge them."""
        return findings(
            Evidence(
                records={f"{one.group}/{one.variant}": one for one in self.records},
                tf32_defaults=self._tf32_defaults,
                published_as=None if self.settings.against else self.model.published_as,
            )
        )

    def fail(self, case: Case, gate: str, reason: str) -> None:
        """Records a case that could not be measured as failed, with its last words."""
        self.recorder.add_verdict(case, Verdict(gate, FAILED, reason))

    def sentences(self) -> tuple[str, ...]:
        """What the run says of its own method and of where its time went."""
        wall = time.perf_counter() - self._opened
        here = spent.so_far().since(self._spent_before)
        after_loading = wall - here.loading
        share = here.generating / after_loading if after_loading > 0 else 0.0
        generating = f"Of {after_loading:.0f} s after loading, {share:.0%} were spent generating."
        return (*self.speed.sentences(), generating)

    def finish(self, interrupted: str = "") -> None:
        """Settles what is open, lets the pipelines go, and writes the picture of all images.

        `interrupted` is how far the run came, where it did not come to its end.
        """
        self.speed.settle()
        self.recorder.end(interrupted)
        self.close()
        self.results.write_grid(self.prompts)

    def close(self) -> None:
        """Lets the loaded pipeline go, and ends the other environment's process."""
        self.loaded.close()
        self.invariants.close()
        if isinstance(self.references, EnvironmentReference):
            self.references.close()

    def _asked_images(self, case: Case) -> ImagePlan:
        """The images that were asked for, before any plan."""
        steps = case.workload.steps
        return ImagePlan(len(self.prompts), min(self.settings.image_steps or steps, steps))

    def _paired_with(self, case: Case) -> str:
        """The id of the case with which it is timed in pairs; "" where it is not.

        What is paired with its like, here or elsewhere, has its own id.
        """
        if not self.speed.is_paired(case):
            return ""
        if self.settings.against or self.settings.self_check:
            return case.id
        return f"{self.model.name}/{case.variant.group}/{case.variant.reference}"

    def _case(self, variant: Variant) -> Case:
        work = workload(
            GROUP_WORKLOADS[variant.group],
            height=self.model.height,
            width=self.model.width,
            guidance_scale=self.model.guidance_scale,
            steps=variant.steps,
            scheduler=variant.scheduler,
        )
        return Case(f"{self.model.name}/{variant.id}", variant, work)

    def _tensors(self, case: Case) -> TensorMemory | None:
        """The case's tensors and its reference's; None where nothing is promised."""
        variant, name = case.variant, case.variant.reference
        if not variant.memory_gated or self.settings.against or name == variant.name:
            return None
        if variant.resolved_autocast(self.device):  # it keeps the weights in both dtypes
            return None
        wanted = f"{self.model.name}/{case.variant.group}/{name}"
        reference = next(other for other in self.cases if other.id == wanted)
        if self.why_not(reference):
            return None
        return TensorMemory(self._tensor_bytes(case), self._tensor_bytes(reference), name)

    def _tensor_bytes(self, case: Case) -> int:
        """The most bytes of tensors at once, read with the case alone in memory."""
        costs = self.recorder.record_of(case).costs
        known = costs.memory.peak_tensor_bytes if costs and costs.memory else None
        if known is None and case.id not in self._held:
            self._held[case.id] = peak_tensor_bytes(self.loaded.sampler(case))
        return known if known is not None else self._held[case.id]

    def _references(self, say: Callable[[str], None]) -> References:
        if self.settings.self_check:
            return SelfReference(self.loaded)
        if self.settings.against:
            return EnvironmentReference(
                self.settings,
                model=self.model,
                device=self.device,
                environment=self.environment,
                say=say,
            )
        return VariantReference(
            self.settings, self.cases, model=self.model, device=self.device, loaded=self.loaded
        )

    def _record(self, case: Case) -> Verdict:
        """Adds the case to this device's stored runs, unless its images are broken."""
        if self.quality.observation(case).image_verdict.status == FAILED:
            why = "not recorded as a baseline, since its images are broken"
            return Verdict("latency", INCONCLUSIVE, why)
        record = self.recorder.record_of(case)
        self.golden_images.store(case, self.quality.observation(case))
        recorded = self.baseline_store.store(
            case, record, yardstick_seconds=record.yardstick_seconds
        )
        number = len(recorded.baseline.runs)
        why = f"{record.seconds:.4g} s recorded as run {number} of this device's baseline"
        if recorded.anew:
            why += f", begun anew: {recorded.anew}"
        return Verdict("latency", INCONCLUSIVE, why)


def _minutes(settings: Settings, model: Model) -> float:
    """What was asked for; else five on the embedded model, where nothing needs all of a case.

    A recording is worth its time, a self-check and an injection have numbers of their own.
    """
    if settings.minutes is not None:
        return settings.minutes
    whole = settings.record or settings.self_check or not settings.planned
    return 0.0 if whole or model.source != "embedded" else MINUTES
