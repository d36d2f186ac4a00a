"""The healthy changes: what may happen to a pipeline without its images getting worse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from latentcy.gates.tolerances import CLOSE, COARSE, LOOSE, NEAR, OTHER
from latentcy.measure.images.clip import ClipScorer
from latentcy.measure.images.profile import Reading, read
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import EVERY, Variant
from latentcy.pipelines.workload import Workload, workload

FIRST_SEED, OTHER_SEED = 2023, 52023
BATCH = 16
SET_IMAGES = 500  # for FID and KID
SET_STEPS, SET_SCHEDULER = 10, "dpm"  # fewer than for the rest, since they are so many

_BY_ID = {variant.id: variant for variant in EVERY}
PLAIN = _BY_ID["distillation/baseline"]  # fp32 on a CPU


@dataclass(frozen=True)
class GeneratedImages:
    """What is generated: a variant's images from one set of seeds."""

    variant: Variant
    workload: str = "batch"  # 25 steps of PNDM; "single": 50 steps of DDIM
    batch: int = BATCH
    first_seed: int = FIRST_SEED
    images: int | None = None  # at most; None: as many as there are prompts
    steps: int | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class Change:
    """A healthy change of a kind, and what its images are held against."""

    kind: str
    says: str
    made: GeneratedImages
    reference: GeneratedImages


def _change(kind: str, says: str, name: str, reference: GeneratedImages, **settings: Any) -> Change:
    return Change(kind, says, replace(reference, variant=_BY_ID[name], **settings), reference)


_PLAIN, _AGAIN = GeneratedImages(PLAIN), GeneratedImages(PLAIN, first_seed=OTHER_SEED)
_SINGLE = GeneratedImages(PLAIN, "single")
_DISTILLED = GeneratedImages(_BY_ID["distillation/distilled"])
_TINY = replace(PLAIN, name="tiny-vae", vae="tiny")

CHANGES = (
    Change(NEAR, "batch of 1", GeneratedImages(PLAIN, batch=1), _PLAIN),
    Change(NEAR, "batch of 4", GeneratedImages(PLAIN, batch=4), _PLAIN),
    _change(NEAR, "fp16", "precision/fp16", _PLAIN),
    _change(NEAR, "fp16, other seeds", "precision/fp16", _AGAIN),
    _change(CLOSE, "bf16", "precision/bf16", _PLAIN),
    _change(CLOSE, "bf16, other seeds", "precision/bf16", _AGAIN),
    _change(CLOSE, "autocast to bf16", "precision/autocast", _PLAIN),
    _change(LOOSE, "20 steps of DPM-Solver++", "stack/dpm-20", _SINGLE),
    _change(LOOSE, "20 steps, step sizes of Karras", "stack/dpm-karras-20", _SINGLE),
    _change(LOOSE, "20 steps of UniPC", "stack/unipc-20", _SINGLE),
    _change(LOOSE, "DeepCache, every third step", "stack/deepcache-3", _SINGLE),
    _change(COARSE, "tiled decoding", "stack/vae-tiling", _SINGLE),
    Change(COARSE, "tiny autoencoder", GeneratedImages(_TINY), _PLAIN),
    _change(COARSE, "tiny autoencoder, distilled", "distillation/distilled-tiny-vae", _DISTILLED),
    _change(OTHER, "distilled", "distillation/distilled", _PLAIN),
    _change(OTHER, "distilled, other seeds", "distillation/distilled", _AGAIN),
)

_SET = GeneratedImages(PLAIN, images=SET_IMAGES, steps=SET_STEPS, scheduler=SET_SCHEDULER)

# Of the same weights only sampling noise sets two sets apart: another set of seeds shows it.
SETS = (
    Change(NEAR, "a set of other seeds", replace(_SET, first_seed=OTHER_SEED), _SET),
    _change(OTHER, "a set by the distilled UNet", "distillation/distilled", _SET),
)


class Studio:
    """Makes and reads images, each set once."""

    def __init__(self, model: Model, device: Device, prompts: tuple[str, ...]) -> None:
        self._model, self._device, self._prompts = model, device, prompts
        self._scorer = ClipScorer(model.scorer, device)
        self._readings: dict[GeneratedImages, Reading] = {}

    def readings(self, change: Change) -> tuple[Reading, Reading]:
        """Of the change's images, and of as many of its reference's."""
        reading, reference = self._reading(change.made), self._reading(change.reference)
        return reading, reference.part(slice(0, len(reading.images)))

    def _reading(self, made: GeneratedImages) -> Reading:
        if made not in self._readings:
            count = made.images or len(self._prompts)
            prompts = [self._prompts[index % len(self._prompts)] for index in range(count)]
            seeds = range(made.first_seed, made.first_seed + count)
            sampler = open_sampler(self._model, made.variant, self._device, self._workload(made))
            images = sampler.observe(prompts, seeds, batch=made.batch).images
            sampler.close()
            self._readings[made] = read(images, self._scorer, prompts)
        return self._readings[made]

    def _workload(self, made: GeneratedImages) -> Workload:
        return workload(
            made.workload,
            height=self._model.height,
            width=self._model.width,
            guidance_scale=self._model.guidance_scale,
            steps=made.steps or made.variant.steps,
            scheduler=made.scheduler or made.variant.scheduler,
        )
