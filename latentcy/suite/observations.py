"""The images by which quality is judged: generated once a case, looked at, scored, kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import Verdict
from latentcy.gates.black_images import image_verdict
from latentcy.measure.diagnosis.investigation import investigate
from latentcy.measure.images.clip import ClipScorer
from latentcy.measure.images.health import look
from latentcy.measure.images.profile import Reading, read
from latentcy.pipelines import time_spent as spent
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.sampler import Sampler, untimed
from latentcy.pipelines.stages import with_few_steps
from latentcy.store.results import Results
from latentcy.suite.run_plan import ImagePlan


@dataclass(frozen=True)
class Observation:
    """The images of one case, and what was read from them."""

    images: np.ndarray  # float32 [n, height, width, 3]
    image_verdict: Verdict
    reading: Reading  # what is compared with another case's
    steps: int  # denoising steps of each image

    @property
    def clip(self) -> np.ndarray | None:
        """Float64 [n], 0..100; None where no scorer could be had."""
        return self.reading.values.get("CLIP")


class Observer:
    """Observes cases on one set of prompts, image i from prompt i and its own seed."""

    def __init__(
        self,
        model: Model,
        device: Device,
        prompts: Sequence[str],
        seeds: Sequence[int],
        results: Results,
        say: Callable[[str], None],
        *,
        batch: int = 4,
    ) -> None:
        self.prompts = tuple(prompts)
        self.seeds = tuple(seeds)
        self._batch = batch  # images in one call
        self.without_scorer = ""  # why there is no scorer, once one was asked for
        self._model, self._device, self._results, self._say = model, device, results, say
        self._scorer: ClipScorer | None = None

    def add(
        self, label: str, sampler: Sampler, asked: ImagePlan, *, in_picture: bool = True
    ) -> Observation:
        """Generates the case's images and reads them.

        Where one is broken, it is generated again with hooks, to find where that began.
        `in_picture` says whether they are a row of the picture of all cases.
        """
        batch = sampler.variant.observed_batch or self._batch
        prompts, seeds = self.prompts[: asked.images], self.seeds[: asked.images]
        with contextlib.ExitStack() as stack:
            short = stack.enter_context(with_few_steps(sampler, asked.steps))
            stack.enter_context(untimed(sampler))
            made = short.observe(prompts, seeds, batch=batch)
            healths = look(made.images, made.latents, made.decoded, made.flagged)
            findings = None
            broken = next((health for health in healths if not health.ok), None)
            if broken is not None:
                self._say(f"{label}: {broken.reason}; generating it again to find where that began")
                findings = investigate(short, prompts, seeds, healths, batch=batch)
        self._results.keep_images(label, made.images, in_picture=in_picture)
        return Observation(
            images=made.images,
            image_verdict=image_verdict(healths, findings),
            reading=self._read(made.images, prompts),
            steps=asked.steps,
        )

    def read(self, label: str, images: np.ndarray, asked: ImagePlan) -> Observation:
        """Reads images that were generated elsewhere, float32 [n, height, width, 3]."""
        self._results.keep_images(label, images)
        reading = self._read(images, self.prompts[: asked.images])
        return Observation(images, image_verdict(look(images)), reading, asked.steps)

    def _read(self, images: np.ndarray, prompts: Sequence[str]) -> Reading:
        if self._scorer is None and not self.without_scorer:
            self._open_scorer()
        return read(images, self._scorer, prompts)

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
