"""A failed case's images beside its reference's, with the difference: the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from latentcy.core.gates import GATES
from latentcy.core.record import Record
from latentcy.core.verdict import FAILED
from latentcy.report.html.image_sheets import Encoder, Tiles, fit, label, open_image

SHOWN = 3  # prompts of a failed case
# Side and quality, tried in turn until a case's pictures fit.
RUNGS = ((320, 82), (256, 70), (192, 60), (128, 45))
AMPLIFIED = (32, 16, 8, 4, 2, 1)
ELSEWHERE = "in the other environment"  # so begins what a case is paired with under --against
# Gates that no image is shown for.
SEEN = frozenset(gate.name for gate in GATES if gate.shows_images)


@dataclass(frozen=True)
class Difference:
    """One prompt's image, its reference's and what is between them; data URIs.

    `difference` is "" where there is none to be shown, and `says` tells why.
    """

    index: int
    image: str
    reference: str
    difference: str
    says: str
    factor: int = 0  # by which the difference was multiplied


@dataclass(frozen=True)
class Differences:
    """What the page shows of a failed case; `says` is why there is nothing, or what was left."""

    reference: str
    shown: tuple[Difference, ...]
    says: str


def shows_images(record: Record) -> bool:
    """Whether a gate failed that looks at images."""
    return any(one.status == FAILED and one.gate in SEEN for one in record.verdicts)


def reference_name(record: Record, plain: Mapping[str, object], tiles: Mapping[str, Tiles]) -> str:
    """The folder of the images that the case's are held against; "" where there is none.

    The other environment's where they were kept, or the reference's drawn as few and in as few
    steps as the case's own; then the variant that the record names as
    `image_reference`, then the group's baseline, then what the case was timed with.
    """
    own = label(record)
    named = (plain.get("image_reference"), "baseline", record.paired_with)
    names = [f"{own} (other)", f"{own} (reference)"]
    if not (record.paired_with or "").startswith(ELSEWHERE):
        names += [f"{record.group}-{one}" for one in named if isinstance(one, str)]
    return next((one for one in names if one in tiles and one != own), "")


def differences(
    own: Tiles | None, reference: Tiles | None, *, name: str, budget: int, encoder: Encoder
) -> Differences:
    """The prompts at which a case differs most from its reference, at most `SHOWN`.

    Args:
        own, reference: the images; None where none were kept.
        name: of the reference.
        budget: bytes for all pictures of the case.
    """
    if own is None:
        return Differences(name, (), "No images of this case were kept.")
    order = _worst_first(own, reference)
    if not order:
        return Differences(name, (), "None of its images can be read.")
    says = "" if reference else "No images of its reference were kept."
    for side, quality in RUNGS:
        shown = [_difference(own, reference, one, side, quality, encoder) for one in order[:SHOWN]]
        if sum(_bytes(one) for one in shown) <= budget:
            break
    while shown and sum(_bytes(one) for one in shown) > budget:
        shown.pop()
    if not shown:
        says = "There was no room for its images on this page; they lie beside run.json."
    elif len(order) > len(shown) and reference:
        says = f"The {len(shown)} of {len(order)} images that differ most from the reference's."
    return Differences(name, tuple(shown), says)


def amplified(own: Image.Image, reference: Image.Image) -> tuple[Image.Image, int, float]:
    """The absolute difference of two images of one size, made visible.

    Returns the picture, the factor by which it was multiplied (so that 99 % of the values still
    fit), and the mean difference, of 255.
    """
    values = np.abs(np.asarray(own, dtype=np.int16) - np.asarray(reference, dtype=np.int16))
    high = float(np.percentile(values, 99))
    factor = next((one for one in AMPLIFIED if one * high <= 255), 1)
    picture = Image.fromarray(np.minimum(values * factor, 255).astype(np.uint8))
    return picture, factor, float(values.mean())


def _difference(
    own: Tiles, reference: Tiles | None, index: int, side: int, quality: int, encoder: Encoder
) -> Difference:
    image = _full(own, index)
    if image is None:
        return Difference(index, "", "", "", f"this image is {own.whys[index]}")
    if max(image.size) <= 128:
        quality += 13  # a small image costs little, and is enlarged
    uri = encoder.uri(fit(image, side), quality)
    if reference is None or index >= len(reference):
        return Difference(index, uri, "", "", "the reference has no image of this prompt")
    other = _full(reference, index)
    if other is None:
        return Difference(index, uri, "", "", f"the reference's image is {reference.whys[index]}")
    other_uri = encoder.uri(fit(other, side), quality)
    if image.size != other.size:
        sizes = f"{image.width} × {image.height} against {other.width} × {other.height} pixels"
        return Difference(index, uri, other_uri, "", f"the sizes differ, {sizes}")
    picture, factor, mean = amplified(image, other)
    if mean == 0:
        return Difference(index, uri, other_uri, "", "both images are the same")
    says = f"{mean:.1f} of 255 in the mean"
    drawn = encoder.uri(fit(picture, side), quality)
    return Difference(index, uri, other_uri, drawn, says, factor)


def _worst_first(own: Tiles, reference: Tiles | None) -> list[int]:
    """Indexes of the images that can be read, the largest difference first."""
    able = [index for index, one in enumerate(own.small) if one is not None]
    if reference is None:
        return able
    return sorted(able, key=lambda index: -_distance(own, reference, index))


def _distance(own: Tiles, reference: Tiles, index: int) -> float:
    one = own.small[index]
    other = reference.small[index] if index < len(reference) else None
    if one is None or other is None or one.size != other.size:
        return -1.0
    values = np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)
    return float(np.abs(values).mean())


def _full(tiles: Tiles, index: int) -> Image.Image | None:
    """The image in its own size; None where it can no longer be read."""
    path = tiles.paths[index]
    if path is None or tiles.small[index] is None:
        return None
    try:
        return open_image(path)
    except (OSError, ValueError, MemoryError):
        return None


def _bytes(one: Difference) -> int:
    return len(one.image) + len(one.reference) + len(one.difference)
