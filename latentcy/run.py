"""A run: the cases of one session, generated, judged and recorded one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from latentcy.errors import LatentcyError
from latentcy.generate.device import Device, environment, find_device, peak_memory
from latentcy.generate.models import Model, lacking, resolve_model
from latentcy.generate.sampler import Sampler, open_sampler
from latentcy.generate.variants import (
    BUILTIN,
    GROUP_WORKLOADS,
    Variant,
    load_variants,
    merge,
    select,
    with_references,
)
from latentcy.generate.workloads import Workload, workload
from latentcy.judge.baselines import (
    StoredBaseline,
    baseline_path,
    fingerprint,
    published,
    read_baseline,
    write_baseline,
)
from latentcy.judge.images import look
from latentcy.judge.overflow import trace_overflow
from latentcy.judge.quality import ClipScorer, ssim
from latentcy.judge.verdicts import (
    INCONCLUSIVE,
    Verdict,
    clip_verdict,
    image_verdict,
    latency_verdict,
    memory_verdict,
    ssim_verdict,
)
from latentcy.prompts import prompt_set
from latentcy.track.records import Record
from latentcy.track.results import Results

FIRST_SEED = 2023  # the published page's


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; the defaults are those of the command line."""

    model: str = "auto"
    device: str = "auto"
    variants_file: Path | None = None
    builtin: bool = True
    only: tuple[str, ...] | None = None
    prompts_file: Path | None = None
    images: int = 16
    rounds: int | None = None
    latency_tolerance: float = 0.10
    memory_tolerance: float = 0.10
    baselines: Path = Path("baselines")
    results: Path = Path("latentcy-results")
    record: bool = False


@dataclass(frozen=True)
class Case:
    """Model x variant x workload; `id` is stable, because history hangs on it."""

    id: str
    variant: Variant
    workload: Workload

    @property
    def label(self) -> str:
        """The id without the model: "precision-fp16"."""
        return f"{self.variant.group}-{self.variant.name}"


@dataclass(frozen=True)
class Observation:
    """The images by which a case's quality is judged, and what was read from them."""

    images: np.ndarray  # float32 [n, height, width, 3]
    image_verdict: Verdict
    clip: np.ndarray | None  # float64 [n], 0..100; None where no scorer could be had
    stages: dict[str, float] | None  # seconds for one image


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
        self.say = say
        self.variants = _variants(settings)
        self.device: Device = find_device(settings.device)
        self.model, self.reason = _model(settings, self.device)
        self.environment = environment(self.device)
        self.prompts = prompt_set(self.model, settings.prompts_file, settings.images)
        self.seeds = tuple(range(FIRST_SEED, FIRST_SEED + len(self.prompts)))
        self.results = Results(settings.results)
        self.cases = tuple(self._case(variant) for variant in self.variants)
        self._records: dict[str, Record] = {}
        self._observations: dict[str, Observation] = {}
        self._open: Sampler | None = None
        self._open_id: str | None = None
        self._scorer: ClipScorer | LatentcyError | None = None

    @property
    def records(self) -> tuple[Record, ...]:
        """The records so far, in the order of the cases."""
        return tuple(self._records[case.id] for case in self.cases if case.id in self._records)

    def refusal(self, case: Case) -> str | None:
        """Why the case cannot run here, recorded as skipped; None where it can."""
        reason = case.variant.refusal(self.device) or lacking(self.model, case.variant)
        if reason:
            self._update(case, skipped=reason)
        return reason

    def sampler(self, case: Case) -> Sampler:
        """The loaded case; the one before it is closed, so that one pipeline is held at a time."""
        if self._open_id == case.id and self._open is not None:
            return self._open
        self.close()
        self._update(case)
        self._open = open_sampler(self.model, case.variant, self.device, case.workload)
        self._open_id = case.id
        return self._open

    def rounds(self, case: Case) -> int:
        """How many generations are timed: as published, but at least five of a single image."""
        return self.settings.rounds or max(case.workload.repeats, 5 if self._single(case) else 3)

    def latency(self, case: Case, rounds: Sequence[float]) -> Verdict:
        """Records the seconds of each round, and holds their median against the baselines."""
        median = float(np.median(rounds))
        with peak_memory(self.device) as peak:
            self.sampler(case).generate()
        reference = self._records.get(self._reference(case).id)
        speedup = reference.seconds / median if reference and reference.seconds else None
        if self._reference(case).id == case.id:
            speedup = 1.0
        record = self._update(
            case, seconds=median, rounds=tuple(rounds), peak_bytes=peak.bytes, speedup=speedup
        )
        self._store(case, record)
        stored = read_baseline(self._baseline_path(case))
        verdict = latency_verdict(
            median,
            stored if case.variant.speed_gated else None,
            self.settings.latency_tolerance,
            fingerprint=self._fingerprint(case),
            published=published(self.model.name, case.variant.group, case.variant.name),
            speedup=speedup,
            device_name=self.device.name,
            model=self.model.name,
        )
        self._judge(case, verdict)
        return verdict

    def memory(self, case: Case) -> Verdict:
        """Holds the peak memory against the stored baseline."""
        verdict = memory_verdict(
            self._records[case.id].peak_bytes if case.id in self._records else None,
            read_baseline(self._baseline_path(case)),
            self.settings.memory_tolerance,
            fingerprint=self._fingerprint(case),
        )
        self._judge(case, verdict)
        return verdict

    def images(self, case: Case) -> Verdict:
        """Whether no image of the case is black, flat or born of non-finite values."""
        observation = self.observation(case)
        self._judge(case, observation.image_verdict)
        return observation.image_verdict

    def ssim(self, case: Case) -> Verdict | None:
        """SSIM to the reference from identical noise; None where the variant promises none."""
        limit, name = case.variant.quality.ssim, case.variant.ssim_reference
        if limit is None or name is None:
            return None
        reference = self.observation(self._named(case, name))
        values = ssim(self.observation(case).images, reference.images)
        self._update(case, ssim=float(np.mean(values)))
        verdict = replace(ssim_verdict(values, limit), gate="SSIM")
        self._judge(case, verdict)
        return verdict

    def clip(self, case: Case) -> Verdict | None:
        """CLIP per prompt, paired with the reference; None where the variant promises none."""
        observation = self.observation(case)
        if observation.clip is not None:
            self._update(case, clip=float(np.mean(observation.clip)))
        limit = case.variant.quality.clip_drop
        if limit is None:
            return None
        reference = self.observation(self._reference(case))
        if observation.clip is None or reference.clip is None:
            assert isinstance(self._scorer, LatentcyError)
            verdict = Verdict("CLIP", INCONCLUSIVE, f"no scorer: {self._scorer.found}")
        else:
            verdict = replace(clip_verdict(observation.clip, reference.clip, limit), gate="CLIP")
        self._judge(case, verdict)
        return verdict

    def observation(self, case: Case) -> Observation:
        """The case's images of all prompts, generated once; judged before they are kept."""
        if case.id not in self._observations:
            sampler = self.sampler(case)
            made = sampler.observe(self.prompts, self.seeds)
            healths = look(made.images, made.latents, made.decoded)
            broken = any(health.reason.startswith("non-finite") for health in healths)
            origin = None
            if broken:
                self.say(f"{case.label}: non-finite values; looking for where they are born")
                origin = trace_overflow(sampler, self.prompts, self.seeds)
            stages = made.stages or {}
            per_image = {name: seconds / len(self.prompts) for name, seconds in stages.items()}
            self._update(case, stages=per_image)
            self._observations[case.id] = Observation(
                images=made.images,
                image_verdict=image_verdict(healths, origin),
                clip=self._scores(made.images),
                stages=per_image,
            )
            self.results.keep_images(case.label, made.images)
        return self._observations[case.id]

    def fail(self, case: Case, gate: str, reason: str) -> None:
        """Records a case that could not be measured as failed, with its last words."""
        self._judge(case, Verdict(gate, "failed", reason))

    def finish(self) -> None:
        """Lets the pipeline go and writes the picture of all variants' images."""
        self.close()
        self.results.write_grid(self.prompts)

    def close(self) -> None:
        """Lets the loaded pipeline go, if there is one."""
        if self._open is not None:
            self._open.close()
        self._open = self._open_id = None

    def _case(self, variant: Variant) -> Case:
        work = workload(
            GROUP_WORKLOADS[variant.group],
            height=self.model.height,
            width=self.model.width,
            guidance_scale=self.model.guidance_scale,
        )
        return Case(f"{self.model.name}/{variant.id}", variant, work)

    def _named(self, case: Case, name: str) -> Case:
        wanted = f"{self.model.name}/{case.variant.group}/{name}"
        return next(other for other in self.cases if other.id == wanted)

    def _reference(self, case: Case) -> Case:
        return self._named(case, case.variant.reference)

    def _single(self, case: Case) -> bool:
        return len(case.workload.seeds) == 1

    def _scores(self, images: np.ndarray) -> np.ndarray | None:
        if self._scorer is None:
            self._scorer = _scorer(self.model, self.device)
        if isinstance(self._scorer, LatentcyError):
            return None
        return self._scorer.scores(images, self.prompts)

    def _fingerprint(self, case: Case) -> dict[str, str]:
        return fingerprint(
            device=self.device,
            model=self.model,
            workload=case.workload,
            environment=self.environment,
        )

    def _baseline_path(self, case: Case) -> Path:
        return baseline_path(
            self.settings.baselines,
            self.device.slug,
            self.model.name,
            case.variant.group,
            case.variant.name,
        )

    def _store(self, case: Case, record: Record) -> None:
        if not self.settings.record or record.seconds is None:
            return
        baseline = StoredBaseline(
            case=case.id,
            fingerprint=self._fingerprint(case),
            seconds=record.seconds,
            rounds=record.rounds,
            peak_bytes=record.peak_bytes,
            recorded=datetime.now(UTC).date().isoformat(),
        )
        write_baseline(self._baseline_path(case), baseline)

    def _judge(self, case: Case, verdict: Verdict) -> None:
        kept = self._records[case.id].verdicts if case.id in self._records else ()
        others = tuple(one for one in kept if one.gate != verdict.gate)
        self._update(case, verdicts=(*others, verdict))

    def _update(self, case: Case, **changed: object) -> Record:
        record = self._records.get(case.id) or self._empty_record(case)
        self._records[case.id] = replace(record, **changed)  # type: ignore[arg-type]
        self.results.write(self.reason, self.environment, self.records)
        return self._records[case.id]

    def _empty_record(self, case: Case) -> Record:
        row = published(None, case.variant.group, case.variant.name)
        return Record(
            case=case.id,
            model=self.model.name,
            group=case.variant.group,
            variant=case.variant.name,
            changes=case.variant.changes,
            device=self.device.name,
            published_seconds=row.seconds if row else None,
            published_speedup=row.speedup if row else None,
            control=case.variant.control,
            environment=self.environment,
        )


def _variants(settings: Settings) -> tuple[Variant, ...]:
    user = load_variants(settings.variants_file) if settings.variants_file else ()
    every = merge(BUILTIN, user)
    chosen: Sequence[Variant] = select(settings.only, every)
    if user and not settings.builtin:
        own = {variant.id for variant in user}
        chosen = [variant for variant in chosen if variant.id in own]
    return with_references(chosen, every)


def _model(settings: Settings, device: Device) -> tuple[Model, str]:
    return resolve_model(settings.model, device)


def _scorer(model: Model, device: Device) -> ClipScorer | LatentcyError:
    if model.scorer is None:
        return LatentcyError(
            found=f"model {model.name} has no scorer",
            expected="a folder scorer/ beside its pipeline/",
            do="put a CLIP model there, or judge by SSIM alone",
        )
    try:
        return ClipScorer(model.scorer, device)
    except LatentcyError as error:
        return error
