"""A run: the cases of one session, generated, judged and recorded one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from latentcy.case import Case
from latentcy.errors import LatentcyError
from latentcy.gallery import Gallery, Observation
from latentcy.generate.device import Device, environment, find_device, free, peak_memory
from latentcy.generate.models import Model, lacking, resolve_model
from latentcy.generate.sampler import Sampler, open_sampler
from latentcy.generate.variants import GROUP_WORKLOADS, Variant
from latentcy.generate.weights import fetch
from latentcy.generate.workloads import workload
from latentcy.judge.baselines import StoredBaseline, published
from latentcy.judge.quality import ssim
from latentcy.judge.verdicts import (
    FAILED,
    INCONCLUSIVE,
    Verdict,
    clip_verdict,
    latency_verdict,
    memory_verdict,
    ssim_verdict,
)
from latentcy.prompts import prompt_set
from latentcy.settings import Settings, chosen_variants
from latentcy.shelf import Shelf
from latentcy.track.records import Record
from latentcy.track.results import Results


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
        self.variants = chosen_variants(settings)
        self.device: Device = find_device(settings.device)
        self.model, self.reason = resolve_model(settings.model, self.device)
        _download_parts(self.model, self.variants)
        self.environment = environment(self.device)
        self.prompts = prompt_set(self.model, settings.prompts_file, settings.images)
        self.results = Results(settings.results)
        self.gallery = Gallery(self.model, self.device, self.prompts, self.results, say)
        self.shelf = Shelf(settings, self.device, self.model, self.environment)
        self.cases = tuple(self._case(variant) for variant in self.variants)
        self._records: dict[str, Record] = {}
        self._observations: dict[str, Observation] = {}
        self._lost: dict[str, str] = {}
        self._open: Sampler | None = None
        self._open_id: str | None = None

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

    def latency(self, case: Case, rounds: Sequence[float]) -> Verdict | None:
        """Records the seconds of each round, and holds their median against the baselines.

        None where the variant's speed is not gated.
        """
        median = float(np.median(rounds))
        reference = self._records.get(self._reference(case).id)
        speedup = reference.seconds / median if reference and reference.seconds else None
        if self._reference(case).id == case.id:
            speedup = 1.0
        self._update(case, seconds=median, rounds=tuple(rounds), speedup=speedup)
        self._update(case, stages=self._stages(case), peak_bytes=self._peak(case))
        if not case.variant.speed_gated:
            return None
        stored = self.shelf.stored(case)
        hub = self.model.source == "hub"
        row = published(self.model.name, case.variant.group, case.variant.name) if hub else None
        verdict = latency_verdict(
            median,
            stored,
            self.settings.latency_tolerance,
            fingerprint=self.shelf.fingerprint(case),
            published=row,
            speedup=speedup,
            device_name=self.device.name,
            model=self.model.name,
        )
        if self.settings.record:
            verdict = self._record(case, stored)
        self._judge(case, verdict)
        return verdict

    def memory(self, case: Case) -> Verdict:
        """Holds the peak memory against the stored baseline."""
        if case.id not in self._records or self._records[case.id].peak_bytes is None:
            self._update(case, peak_bytes=self._peak(case))
        verdict = memory_verdict(
            self._records[case.id].peak_bytes,
            self.shelf.stored(case),
            self.settings.memory_tolerance,
            fingerprint=self.shelf.fingerprint(case),
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
        reference = self._held_against(case, name)
        if isinstance(reference, str):
            return self._open_gate(case, "SSIM", reference)
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
        if observation.clip is None:
            return self._open_gate(case, "CLIP", f"no scorer: {self.gallery.without_scorer}")
        reference = self._held_against(case, case.variant.reference)
        if isinstance(reference, str):
            return self._open_gate(case, "CLIP", reference)
        assert reference.clip is not None  # one scorer for all cases
        verdict = replace(clip_verdict(observation.clip, reference.clip, limit), gate="CLIP")
        self._judge(case, verdict)
        return verdict

    def observation(self, case: Case) -> Observation:
        """The case's images of all prompts, generated once, and what was read from them."""
        if case.id not in self._observations:
            self._observations[case.id] = self.gallery.add(case.label, self.sampler(case))
        return self._observations[case.id]

    def fail(self, case: Case, gate: str, reason: str) -> None:
        """Records a case that could not be measured as failed, with its last words."""
        self._judge(case, Verdict(gate, FAILED, reason))

    def finish(self) -> None:
        """Lets the pipeline go and writes the picture of all variants' images."""
        self.close()
        self.results.write_grid(self.prompts)

    def close(self) -> None:
        """Lets the loaded pipeline go, if there is one."""
        sampler, self._open, self._open_id = self._open, None, None
        if sampler is not None:
            sampler.close()
        else:
            free(self.device)  # what a case that failed to load has left

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

    def _held_against(self, case: Case, name: str) -> Observation | str:
        """The reference's observation, or why nothing can be held against it."""
        reference = self._named(case, name)
        if reference.id not in self._lost:
            why = reference.variant.refusal(self.device) or lacking(self.model, reference.variant)
            try:
                observation = None if why else self.observation(reference)
            except Exception as error:
                if reference.id == case.id:
                    raise
                why = str(error).partition("\n")[0] or type(error).__name__
            else:
                if observation is not None and observation.image_verdict.status == FAILED:
                    why = observation.image_verdict.reason
            if not why and observation is not None:
                return observation
            self._lost[reference.id] = f"its reference {name} cannot be used: {why}"
        return self._lost[reference.id]

    def _record(self, case: Case, before: StoredBaseline | None) -> Verdict:
        """Stores the case as this device's baseline, unless its images are broken."""
        if self.observation(case).image_verdict.status == FAILED:
            why = "not recorded as a baseline, since its images are broken"
            return Verdict("latency", INCONCLUSIVE, why)
        stored = self.shelf.store(case, self._records[case.id])
        replaced = f", in place of {before.seconds:.4g} s" if before else ""
        why = f"{stored.seconds:.4g} s recorded as this device's baseline{replaced}"
        return Verdict("latency", INCONCLUSIVE, why)

    def _open_gate(self, case: Case, gate: str, reason: str) -> Verdict:
        verdict = Verdict(gate, INCONCLUSIVE, reason)
        self._judge(case, verdict)
        return verdict

    def _peak(self, case: Case) -> int | None:
        with peak_memory(self.device) as peak:
            self.sampler(case).generate()
        return peak.bytes

    def _stages(self, case: Case) -> dict[str, float] | None:
        work = case.workload
        prompts = [work.prompt] * len(work.seeds)
        return self.sampler(case).observe(prompts, work.seeds, batch=len(prompts)).stages

    def _single(self, case: Case) -> bool:
        return len(case.workload.seeds) == 1

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


def _download_parts(model: Model, variants: Sequence[Variant]) -> None:
    """Has what the variants need here before anything runs, so that a download can be seen.

    Raises LatentcyError for a damaged scorer of a local model, by which every case is judged.
    Another part that cannot be had fails its own cases later, with the reason, and no other.
    """
    if model.scorer is not None and model.source != "hub":
        fetch(model.scorer)
    wanted = {
        model.scorer,
        *(model.distilled_unet for variant in variants if variant.unet == "distilled"),
        *(model.tiny_vae for variant in variants if variant.vae == "tiny"),
    }
    for weights in wanted - {None}:
        with contextlib.suppress(LatentcyError):
            fetch(weights)  # type: ignore[arg-type]
