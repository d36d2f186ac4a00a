"""The archive: images stored with the repository, against which every run is held as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from latentcy.core.settings import Settings
from latentcy.core.verdict import FAILED, PASSED, Verdict
from latentcy.gates.golden_images import album_of, compare
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.models.fingerprint import weights_identity
from latentcy.store.golden_image_file import (
    GoldenImageSet,
    find_golden_images,
    golden_images_path,
    write_golden_images,
)
from latentcy.suite.observations import Observation, Observer


class GoldenImages:
    """Reads and writes the albums of one model, whatever device drew them."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: Model,
        device: Device,
        environment: Mapping[str, str],
        observer: Observer,
    ) -> None:
        self._settings, self._model, self._device = settings, model, device
        self._environment, self._observer = environment, observer

    def verdict(self, case: Case, seen: Observation) -> Verdict | None:
        """Whether the images are those that are stored; None where none are, or none could be.

        A case without an album is held against its reference alone, which has one. Raises
        LatentcyError where an album cannot be read.
        """
        stored = find_golden_images(*self._place(case))
        held = case.variant.reference != case.variant.name
        if self._model.unjudged or (stored is None and held):
            return None
        return compare(stored, self._album(case, seen))

    def store(self, case: Case, seen: Observation) -> None:
        """Puts the images in the place of what is stored, unless they are broken.

        An album of more images that still agrees with these is kept.
        """
        if seen.image_verdict.status == FAILED or self._model.unjudged:
            return
        made, stored = self._album(case, seen), find_golden_images(*self._place(case))
        fewer = stored is not None and len(made.prompts) < len(stored.prompts)
        if not (fewer and compare(stored, made).status == PASSED):
            write_golden_images(golden_images_path(*self._place(case)), made)

    def _album(self, case: Case, seen: Observation) -> GoldenImageSet:
        prompts, seeds = self._observer.prompts, self._observer.seeds
        drawn = replace(case, workload=replace(case.workload, steps=seen.steps))
        return album_of(
            drawn,
            model=self._model,
            device=self._device,
            weights=weights_identity(self._model, case.variant),
            environment=self._environment,
            images=seen.images,
            prompts=prompts[: len(seen.images)],
            seeds=seeds[: len(seen.images)],
            clip=seen.clip,
        )

    def _place(self, case: Case) -> tuple:
        group, name = case.variant.group, case.variant.name
        return self._settings.baselines, self._model.name, group, name
