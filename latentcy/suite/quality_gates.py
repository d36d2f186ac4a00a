"""The quality gates of a run: each case's images, alone and against its reference's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from latentcy.core.errors import LatentcyError
from latentcy.core.quality_limits import promise_of
from latentcy.core.verdict import FAILED, INCONCLUSIVE, Verdict
from latentcy.gates import image_quality
from latentcy.gates.prompt_coverage import tokens_verdict
from latentcy.gates.ssim_and_clip import clip_verdict, ssim_verdict
from latentcy.gates.tolerances import bounds, kind_of
from latentcy.measure.images import profile
from latentcy.measure.images.profile import Profile
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model, lacking
from latentcy.pipelines.variants import Quality, Tolerance, Variant
from latentcy.suite.active_pipeline import ActivePipeline
from latentcy.suite.observations import Observation, Observer
from latentcy.suite.recorder import Recorder
from latentcy.suite.references import EnvironmentReference, References
from latentcy.suite.run_plan import ImagePlan
from latentcy.suite.run_time import RunTime

# What the same case must keep in another environment: the floors of fp16, since other kernels move
# an image no more than half precision does.
ELSEWHERE = Quality(
    ssim=Tolerance(0.98, "same weights, same noise, other libraries"),
    clip_drop=Tolerance(0.02, "same weights, same noise, other libraries"),
)

# What a profile is judged by, besides its mean SSIM and CLIP; None where a limit does not apply.
PROFILED: dict[str, Callable[..., Verdict | None]] = {
    "local SSIM": image_quality.local_ssim_verdict,
    "tone": image_quality.tone_verdict,
    "sharpness": image_quality.sharpness_verdict,
    "image distance": image_quality.image_distance_verdict,
    "distribution": image_quality.distribution_verdict,
}


class QualityGates:
    """Observes each case once, and holds it against its reference."""

    def __init__(
        self,
        *,
        model: Model,
        device: Device,
        cases: Sequence[Case],
        loaded: ActivePipeline,
        recorder: Recorder,
        observer: Observer,
        references: References,
        time: RunTime,
    ) -> None:
        self._time = time
        self._model, self._device, self._cases = model, device, cases
        self._loaded, self._recorder, self._observer = loaded, recorder, observer
        self._elsewhere = references if isinstance(references, EnvironmentReference) else None
        self._observations: dict[tuple[str, ImagePlan], Observation] = {}
        self._there: dict[tuple[str, ImagePlan], Observation] = {}
        self._profiles: dict[tuple[str, ImagePlan], Profile] = {}
        self._lost: dict[tuple[str, ImagePlan], str] = {}

    def images(self, case: Case) -> Verdict:
        """Whether no image of the case is black, flat or born of non-finite values."""
        return self._recorder.add_verdict(case, self.observation(case).image_verdict)

    def tokens(self, case: Case) -> Verdict:
        """Whether the case reads every prompt to its end."""
        pipeline = self._loaded.sampler(case).pipeline
        verdict = tokens_verdict(self._observer.prompts, pipeline.tokenizer, pipeline=pipeline)
        return self._recorder.add_verdict(case, verdict)

    def ssim(self, case: Case) -> Verdict | None:
        """SSIM to the reference from identical noise; None where the variant promises none."""
        limit = self._promised(case).ssim
        if limit is None or self._alike(case) is None:
            return None

        def judge() -> Verdict:
            seen = self._profile(case)
            if isinstance(seen, str):
                return self._recorder.leave_open(case, "SSIM", seen)
            values = seen.against["SSIM"]
            self._recorder.update(case, ssim=float(np.mean(values)))
            return self._recorder.add_verdict(case, ssim_verdict(values, limit))

        return self._until_known(case, judge)

    def profiled(self, case: Case, gate: str) -> Verdict | None:
        """One of `PROFILED`; None where nothing is promised that it could judge."""
        kind = kind_of(self._promised(case))
        if kind is None or not self._has_reference(case):
            return None

        def judge() -> Verdict | None:
            seen = self._profile(case)
            if isinstance(seen, str):
                return self._recorder.leave_open(case, gate, seen)
            verdict = PROFILED[gate](seen, bounds(kind))
            return None if verdict is None else self._recorder.add_verdict(case, verdict)

        return self._until_known(case, judge)

    def clip(self, case: Case) -> Verdict | None:
        """CLIP per prompt, paired with the reference; None where the variant promises none."""
        observation = self.observation(case)
        if observation.clip is not None:
            self._recorder.update(case, clip=float(np.mean(observation.clip)))
        limit = self._promised(case).clip_drop
        if limit is None or not self._has_reference(case):
            return None
        if observation.clip is None:
            why = f"no scorer: {self._observer.without_scorer}"
            return self._recorder.leave_open(case, "CLIP", why)

        def judge() -> Verdict:
            own, reference = self.observation(case), self._held_against(case, name)
            if isinstance(reference, str):
                return self._recorder.leave_open(case, "CLIP", reference)
            assert own.clip is not None and reference.clip is not None  # one scorer for all cases
            self._recorder.update(case, clip=float(np.mean(own.clip)))
            return self._recorder.add_verdict(case, clip_verdict(own.clip, reference.clip, limit))

        name = case.variant.reference
        return self._until_known(case, judge)

    def _until_known(self, case: Case, judge: Callable[[], Verdict | None]) -> Verdict | None:
        """Judges by more images while the verdict is open and there is time for them."""
        verdict = judge()
        while verdict is not None and verdict.status == INCONCLUSIVE:
            name = self._alike(case) or case.variant.reference
            if self._time.more_images(case, self._case(case, name).id) is None:
                break
            self._recorder.update(case, plan=self._time.of(case).to_dict())
            self.images(case)
            verdict = judge()
        return verdict

    def observation(self, case: Case) -> Observation:
        """The case's images, as many as it gets, generated once, and what was read from them."""
        return self._observed(case, self._time.of(case).images, label=case.label)

    def _observed(self, case: Case, images: ImagePlan, *, label: str) -> Observation:
        key = case.id, images
        if key not in self._observations:
            sampler = self._loaded.sampler(case)
            own = label == case.label
            made = self._observer.add(label, sampler, images, in_picture=own)
            self._observations[key] = made
        return self._observations[key]

    def _promised(self, case: Case) -> Quality:
        """What the variant states, or what is expected of one that states nothing."""
        variant = case.variant
        if self._elsewhere:
            return ELSEWHERE
        if variant.quality is not None:
            return variant.quality
        alike = self._case(case, self._alike(case) or variant.reference)
        parts = [(one.variant.is_distilled, one.variant.is_tiny) for one in (case, alike)]
        sampling = [(one.workload.steps, one.workload.scheduler) for one in (case, alike)]
        return promise_of(
            _arithmetic(variant, self._device),
            same_images=parts[0] == parts[1] and sampling[0] == sampling[1],
        )

    def _alike(self, case: Case) -> str | None:
        """The variant with which it shares weights and noise; None where there is none."""
        return case.variant.name if self._elsewhere else case.variant.ssim_reference

    def _has_reference(self, case: Case) -> bool:
        return bool(self._elsewhere) or case.variant.reference != case.variant.name

    def _profile(self, case: Case) -> Profile | str:
        """The case's images against its reference's, read once, or why they cannot be."""
        if self._model.unjudged:
            return self._model.unjudged
        key = case.id, self._time.of(case).images
        if key not in self._profiles:
            name = self._alike(case) or case.variant.reference
            reference = self._held_against(case, name)
            if isinstance(reference, str):
                return reference
            self._profiles[key] = self._compared(case, reference)
            against = self._profiles[key].to_dict()["against"]
            self._recorder.update(case, profile=against, image_reference=name)
        return self._profiles[key]

    def _compared(self, case: Case, reference: Observation) -> Profile:
        made = self.observation(case)
        try:
            return profile.compare(made.reading, reference.reading)
        except ValueError as error:
            raise LatentcyError(
                found=f"images of {case.variant.id} that cannot be held against its reference's: "
                f"{error}",
                expected="images of the workload's size, as many as the reference's",
                do="correct the variant's prepare hook, so that it changes no image's size",
            ) from error

    def _held_against(self, case: Case, name: str) -> Observation | str:
        """The reference's observation, or why nothing can be held against it."""
        if self._elsewhere:
            return self._from_elsewhere(case, self._elsewhere)
        reference = self._case(case, name)
        alike = self._time.of(case).images
        lost = reference.id, alike
        if lost not in self._lost:
            why = reference.variant.refusal(self._device) or lacking(self._model, reference.variant)
            try:
                observation = None if why else self._drawn_alike(reference, case)
            except Exception as error:
                if reference.id == case.id:
                    raise
                why = str(error).partition("\n")[0] or type(error).__name__
            else:
                if observation is not None and observation.image_verdict.status == FAILED:
                    why = observation.image_verdict.reason
            if not why and observation is not None:
                return observation
            self._lost[lost] = f"its reference {name} cannot be used: {why}"
        return self._lost[lost]

    def _drawn_alike(self, reference: Case, case: Case) -> Observation:
        """The reference's images, as many and in as many steps as the case's."""
        images = self._time.of(case).images
        own = reference.id == case.id or images == self._time.of(reference).images
        label = reference.label if own else f"{case.label} (reference)"
        return self._observed(reference, images, label=label)

    def _case(self, case: Case, name: str) -> Case:
        """The case of another variant in the same group."""
        wanted = f"{self._model.name}/{case.variant.group}/{name}"
        return next(other for other in self._cases if other.id == wanted)

    def _from_elsewhere(self, case: Case, place: EnvironmentReference) -> Observation | str:
        """The same case's images in the other environment. Raises LatentcyError for a dead one."""
        asked = self._time.of(case).images
        key = case.id, asked
        if key not in self._there:
            short = replace(case, workload=replace(case.workload, steps=asked.steps))
            prompts, seeds = self._observer.prompts, self._observer.seeds
            images = place.images(short, prompts[: asked.images], seeds[: asked.images])
            self._there[key] = self._observer.read(f"{case.label} (other)", images, asked)
        there = self._there[key]
        if there.image_verdict.status == FAILED:
            return f"the other environment's images cannot be used: {there.image_verdict.reason}"
        return there


def _arithmetic(variant: Variant, device: Device) -> str:
    """The coarsest that the variant states, as `promise_of` takes it."""
    stated = (variant.resolved_dtype(device), variant.resolved_autocast(device))
    coarse = [name for name in ("bfloat16", "float16") if name in stated]
    return coarse[0] if coarse else "tf32" if variant.tf32 else "float32"
