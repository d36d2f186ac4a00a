"""The images by which quality is judged: generated once a case, looked at, scored, kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latentcy.errors import LatentcyError
from latentcy.generate import spent
from latentcy.generate.device import Device
from latentcy.generate.flops import plainly
from latentcy.generate.models import Model
from latentcy.generate.sampler import Sampler
from latentcy.judge.images import look
from latentcy.judge.overflow import trace_overflow
from latentcy.judge.quality import ClipScorer
from latentcy.judge.verdicts import Verdict, image_verdict
from latentcy.track.results import Results

BATCH = 4  # images in one call
FIRST_SEED = 2023  # the published page's


@dataclass(frozen=True)
class Observation:
    """The images of one case, and what was read from them."""

    images: np.ndarray  # float32 [n, height, width, 3]
    image_verdict: Verdict
    clip: np.ndarray | None  # float64 [n], 0..100; None where no scorer could be had


class Gallery:
    """Observes cases on one set of prompts, image i from prompt i and its own seed."""

    def __init__(
        self,
        model: Model,
        device: Device,
        prompts: Sequence[str],
        results: Results,
        say: Callable[[str], None],
    ) -> None:
        self.prompts = tuple(prompts)
        self.seeds = tuple(range(FIRST_SEED, FIRST_SEED + len(self.prompts)))
        self.without_scorer = ""  # why there is no scorer, once one was asked for
        self._model, self._device, self._results, self._say = model, device, results, say
        self._scorer: ClipScorer | None = None

    def add(self, label: str, sampler: Sampler) -> Observation:
        """Generates the case's images and reads them.

        Where one holds a non-finite value, the case is run again to find where it is born.
        """
        batch = sampler.variant.observed_batch or BATCH
        made = sampler.observe(self.prompts, self.seeds, batch=batch)
        healths = look(made.images, made.latents, made.decoded)
        origin = None
        if any(health.reason.startswith("non-finite") for health in healths):
            self._say(f"{label}: non-finite values; looking for where they are born")
            with plainly(set()):  # hooks see nothing inside compiled or captured code
                origin = trace_overflow(sampler, self.prompts, self.seeds)
        self._results.keep_images(label, made.images)
        return Observation(
            images=made.images,
            image_verdict=image_verdict(healths, origin),
            clip=self._scores(made.images),
        )

    def read(self, label: str, images: np.ndarray) -> Observation:
        """Reads images that were generated elsewhere, float32 [n, height, width, 3]."""
        self._results.keep_images(label, images)
        return Observation(images, image_verdict(look(images)), self._scores(images))

    def _scores(self, images: np.ndarray) -> np.ndarray | None:
        if self._scorer is None and not self.without_scorer:
            self._open_scorer()
        return None if self._scorer is None else self._scorer.scores(images, self.prompts)

    def _open_scorer(self) -> None:
        if self._model.unjudged:
            self.without_scorer = self._model.unjudged
            return
        if self._model.scorer is None:
            self.without_scorer = f"model {self._model.name} has none beside its pipeline"
            return
        try:
            with spent.loading():
                self._scorer = ClipScorer(self._model.scorer, self._device)
        except LatentcyError as error:
            self.without_scorer = error.found
