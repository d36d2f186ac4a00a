"""The quality gates of a run: each case's images, alone and against its reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from latentcy.case import Case
from latentcy.gallery import Gallery, Observation
from latentcy.generate.device import Device
from latentcy.generate.models import Model, lacking
from latentcy.generate.variants import Quality, Tolerance
from latentcy.judge.quality import ssim
from latentcy.judge.verdicts import FAILED, Verdict, clip_verdict, ssim_verdict
from latentcy.ledger import Ledger
from latentcy.loaded import Loaded
from latentcy.references import OtherPlace, References

# What the same case must keep in another environment: the floors of fp16, since other kernels move
# an image no more than half precision does.
ELSEWHERE = Quality(
    ssim=Tolerance(0.98, "same weights, same noise, other libraries"),
    clip_drop=Tolerance(0.02, "same weights, same noise, other libraries"),
)


class Likeness:
    """Observes each case once, and holds it against its reference."""

    def __init__(
        self,
        *,
        model: Model,
        device: Device,
        cases: Sequence[Case],
        loaded: Loaded,
        ledger: Ledger,
        gallery: Gallery,
        references: References,
    ) -> None:
        self._model, self._device, self._cases = model, device, cases
        self._loaded, self._ledger, self._gallery = loaded, ledger, gallery
        self._elsewhere = references if isinstance(references, OtherPlace) else None
        self._observations: dict[str, Observation] = {}
        self._there: dict[str, Observation] = {}
        self._lost: dict[str, str] = {}

    def images(self, case: Case) -> Verdict:
        """Whether no image of the case is black, flat or born of non-finite values."""
        return self._ledger.judge(case, self.observation(case).image_verdict)

    def ssim(self, case: Case) -> Verdict | None:
        """SSIM to the reference from identical noise; None where the variant promises none."""
        limit, name = case.variant.quality.ssim, case.variant.ssim_reference
        if self._elsewhere:
            limit, name = ELSEWHERE.ssim, case.variant.name
        if limit is None or name is None:
            return None
        if self._model.unjudged:
            return self._ledger.open_gate(case, "SSIM", self._model.unjudged)
        reference = self._held_against(case, name)
        if isinstance(reference, str):
            return self._ledger.open_gate(case, "SSIM", reference)
        values = ssim(self.observation(case).images, reference.images)
        self._ledger.update(case, ssim=float(np.mean(values)))
        return self._ledger.judge(case, replace(ssim_verdict(values, limit), gate="SSIM"))

    def clip(self, case: Case) -> Verdict | None:
        """CLIP per prompt, paired with the reference; None where the variant promises none."""
        observation = self.observation(case)
        if observation.clip is not None:
            self._ledger.update(case, clip=float(np.mean(observation.clip)))
        limit = ELSEWHERE.clip_drop if self._elsewhere else case.variant.quality.clip_drop
        if limit is None:
            return None
        if observation.clip is None:
            why = f"no scorer: {self._gallery.without_scorer}"
            return self._ledger.open_gate(case, "CLIP", why)
        reference = self._held_against(case, case.variant.reference)
        if isinstance(reference, str):
            return self._ledger.open_gate(case, "CLIP", reference)
        assert reference.clip is not None  # one scorer for all cases
        verdict = clip_verdict(observation.clip, reference.clip, limit)
        return self._ledger.judge(case, replace(verdict, gate="CLIP"))

    def observation(self, case: Case) -> Observation:
        """The case's images of all prompts, generated once, and what was read from them."""
        if case.id not in self._observations:
            sampler = self._loaded.sampler(case)
            self._observations[case.id] = self._gallery.add(case.label, sampler)
        return self._observations[case.id]

    def _held_against(self, case: Case, name: str) -> Observation | str:
        """The reference's observation, or why nothing can be held against it."""
        if self._elsewhere:
            return self._from_elsewhere(case, self._elsewhere)
        wanted = f"{self._model.name}/{case.variant.group}/{name}"
        reference = next(other for other in self._cases if other.id == wanted)
        if reference.id not in self._lost:
            why = reference.variant.refusal(self._device) or lacking(self._model, reference.variant)
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

    def _from_elsewhere(self, case: Case, place: OtherPlace) -> Observation | str:
        """The same case's images in the other environment. Raises LatentcyError for a dead one."""
        if case.id not in self._there:
            images = place.images(case, self._gallery.prompts, self._gallery.seeds)
            self._there[case.id] = self._gallery.read(f"{case.label} (other)", images)
        there = self._there[case.id]
        if there.image_verdict.status == FAILED:
            return f"the other environment's images cannot be used: {there.image_verdict.reason}"
        return there
