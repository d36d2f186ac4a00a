"""Stored images: what a case drew when it was known to be sound, held against what it draws now.

Variants are held against the baseline variant, which an upgrade can break with all of them; so a
model's images are stored with the repository, small, and every run is held against those as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.measure.images.clip import ssim
from latentcy.store.baselines import changes, versions
from latentcy.store.golden_image_file import SIDE, GoldenImageSet

if TYPE_CHECKING:
    from latentcy.pipelines.case import Case
    from latentcy.pipelines.devices.device import Device
    from latentcy.pipelines.models.catalog import Model

GATE = "stored images"

# Measured against the four albums here: bf16 (64 images each) keeps 0.996 or more on average
# and 0.944 in the worst image and moves a colour by 0.004, fp16 (16 to 32 each) 0.9996, 0.9992 and
# 0.0003, other batches and threads 1.0000; so at most half of each limit is used. A scaling factor
# of 1.2 times its own leaves 0.97 on average and moves a colour by 0.06 (16 images).
LEAST_MEAN = 0.98
LEAST_SINGLE = 0.85
MOST_COLOUR = 0.02  # of 1, in the mean of any channel of any image

# What must agree before two albums' images may be compared; a difference is named and is no verdict
# on the images. Dtype, device, batch size and versions may differ: their effect is what is looked
# for, and it is small.
MUST_AGREE = ("model", "weights", "height", "width", "steps", "scheduler", "guidance_scale")

_SSIM_SIDE = 11  # pixels; SSIM's window


def album_of(
    case: Case,
    *,
    model: Model,
    device: Device,
    weights: str,
    environment: Mapping[str, str],
    images: np.ndarray,
    prompts: Sequence[str],
    seeds: Sequence[int],
    clip: np.ndarray | None = None,
) -> GoldenImageSet:
    """The album of images that a case has just drawn.

    Args:
        case: what drew them, on `device`.
        model: its weights and name.
        device: where it ran.
        weights: as `weights_identity` gives it.
        environment: as `latentcy.pipelines.devices.device.environment` gives it; the versions are
            kept.
        images: float [n, height, width, 3], nominally 0..1.
        prompts: n texts.
        seeds: n whole numbers.
        clip: [n] scores, or None.

    Raises:
        ValueError: the numbers of images, prompts, seeds and scores differ.
    """
    images = np.asarray(images)
    work = case.workload
    clip = np.full(len(images), np.nan) if clip is None else np.asarray(clip, dtype=np.float64)
    numbers = len(images), len(prompts), len(seeds), len(clip)
    if not len(images) or len(set(numbers)) > 1:
        raise ValueError("{} images, {} prompts, {} seeds and {} scores".format(*numbers))
    return GoldenImageSet(
        case=case.id,
        model=model.name,
        weights=weights,
        prompts=tuple(prompts),
        seeds=tuple(int(seed) for seed in seeds),
        steps=work.steps,
        scheduler=work.scheduler,
        guidance_scale=float(work.guidance_scale),
        height=work.height,
        width=work.width,
        dtype=case.variant.resolved_dtype(device),
        device=device.kind,
        versions=versions(environment),
        thumbnails=_thumbnails(images),
        colours=np.stack([image.mean(axis=(0, 1), dtype=np.float64) for image in images]),
        clip=clip,
    )


def compare(stored: GoldenImageSet | None, made: GoldenImageSet) -> Verdict:
    """Are the images those that are stored, as nearly as dtypes, kernels and devices leave them so?

    Compared are the images whose prompt and seed are in both: SSIM of the thumbnails on average
    and singly, and the mean of each image's channels, which SSIM hardly sees.

    Returns:
        failed where a limit is not kept, or an image is not finite or of another size; inconclusive
        where none is stored, what must agree does not, or no prompt and seed are in both.
    """
    if stored is None:
        why = "no images are stored for it (--benchmark-record stores them)"
        return Verdict(GATE, INCONCLUSIVE, why)
    if unlike := _differences(stored, made):
        why = f"the stored images are of something else ({'; '.join(unlike)})"
        return Verdict(GATE, INCONCLUSIVE, why)
    if made.thumbnails.shape[1:] != stored.thumbnails.shape[1:]:
        sizes = [f"{one.thumbnails.shape[2]}x{one.thumbnails.shape[1]}" for one in (made, stored)]
        asked = f"where {made.width}x{made.height} was asked for"
        why = f"thumbnails of {sizes[0]} pixels against {sizes[1]} stored, {asked}"
        return Verdict(GATE, FAILED, why)
    if min(made.thumbnails.shape[1:3]) < _SSIM_SIDE:
        size = f"{made.width}x{made.height}"
        return Verdict(GATE, INCONCLUSIVE, f"images of {size} pixels are too small for SSIM")
    there = stored.images
    common = {place: there[pair] for pair, place in made.images.items() if pair in there}
    if not common:
        why = (
            f"none of the {len(made.prompts)} images has the prompt and the seed of one of the "
            f"{len(stored.prompts)} stored"
        )
        return Verdict(GATE, INCONCLUSIVE, why)
    return _held(stored, made, common)


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, 3]; what is not finite becomes black, and is told by its colours."""
    small = []
    for image in images:
        pixels = np.clip(np.nan_to_num(image.astype(np.float64)), 0.0, 1.0).transpose(2, 0, 1)
        size = [min(SIDE, side) for side in pixels.shape[1:]]
        averaged = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(pixels.copy()), size)
        small.append(np.rint(averaged.numpy().transpose(1, 2, 0) * 255).astype(np.uint8))
    return np.stack(small)


def _differences(stored: GoldenImageSet, made: GoldenImageSet) -> tuple[str, ...]:
    pairs = {name: (getattr(made, name), getattr(stored, name)) for name in MUST_AGREE}
    return tuple(
        f"{name.replace('_', ' ')}: {here} here, {there} stored"
        for name, (here, there) in pairs.items()
        if here != there
    )


def _held(stored: GoldenImageSet, made: GoldenImageSet, common: Mapping[int, int]) -> Verdict:
    """The verdict on the images that both have; `common` maps places here to places there."""
    here, there = list(common), list(common.values())
    values = ssim(made.thumbnails[here] / 255, stored.thumbnails[there] / 255)
    shifts = np.abs(made.colours[here] - stored.colours[there]).max(axis=1)
    values[~np.isfinite(shifts)] = np.nan
    mean, worst, shift = float(values.mean()), float(values.min()), float(shifts.max())
    sound = (values >= LEAST_SINGLE) & (shifts <= MOST_COLOUR)
    kept = mean >= LEAST_MEAN and bool(sound.all())
    count = "1 image" if len(here) == 1 else f"{len(here)} images"
    figures = (
        f"SSIM {mean:.4f} on average (at least {LEAST_MEAN:g}) and {worst:.4f} at worst "
        f"(at least {LEAST_SINGLE:g}), mean colour off by {shift:.3f} at most "
        f"({MOST_COLOUR:g} allowed)"
    )
    if kept:
        return Verdict(
            GATE, PASSED, f"{count} like those stored: {figures}; {_origin(stored, made)}"
        )
    alike = sound & (values >= LEAST_MEAN) if sound.all() else sound
    numbers = [here[place] + 1 for place in _worst_first(values, shifts) if not alike[place]]
    named = ", ".join(str(number) for number in numbers[:8]) + ", ..." * (len(numbers) > 8)
    lost = int((~np.isfinite(shifts)).sum())
    broken = f", {lost} of them with non-finite values" if lost else ""
    why = (
        f"{len(numbers)} of {count} unlike those stored{broken}, the worst first: {named}; "
        f"{figures}; "
        f"{_origin(stored, made)}; look at them in images.png, and record them anew with "
        "--benchmark-record if the change is meant"
    )
    return Verdict(GATE, FAILED, why)


def _worst_first(values: np.ndarray, shifts: np.ndarray) -> list[int]:
    """Places by how far each image is beyond its limits; what is not finite comes first."""
    beyond = np.maximum((1 - values) / (1 - LEAST_SINGLE), shifts / MOST_COLOUR)
    order = np.argsort(-np.where(np.isnan(beyond), math.inf, beyond), kind="stable")
    return [int(place) for place in order]


def _origin(stored: GoldenImageSet, made: GoldenImageSet) -> str:
    """What the stored images were made with, and what has changed."""
    libraries = [f"{name} {stored.versions[name]}" for name in _NAMED if name in stored.versions]
    changed = changes(stored.versions, made.versions)
    since = f", since then {', '.join(changed)}" if changed else ""
    made_with = ", ".join([f"{stored.dtype} on {stored.device}", *libraries])
    return f"stored in {made_with}{since}"


_NAMED = ("torch", "diffusers", "transformers")
