"""From how far healthy changes move each metric to the table of tolerances. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latentcy.core.metrics import BY_NAME
from latentcy.gates.tolerances import CLOSE, COARSE, LOOSE, NEAR, ONE, OTHER
from latentcy.measure.images.distribution import distribution
from latentcy.measure.images.profile import Profile, Reading, compare
from latentcy.stats.noninferiority import lost, paired

# A tolerance is the largest of these multiples of what was seen, and of its least width.
SMALL, LARGE = 8, 16  # images of a subset
OF_MEAN = 2.5  # the worst mean of any subset of 8
OF_BOUND = 1.25  # the worst 99 % bound of any subset of 16
OF_ONE = 2.0  # the worst single image
OF_SETS = 2.5  # FID and KID of two sets of 500 images

KINDS = (NEAR, CLOSE, LOOSE, COARSE, OTHER)

# The least widths of near, and how many times as wide they are for the others. Another model does
# not round as the miniature does, so nothing is asked that could not be seen in an image.
WIDER = {NEAR: 1.0, CLOSE: 1.5, LOOSE: 2.0, COARSE: 2.0, OTHER: 2.0}
LEAST: Mapping[str, float] = {
    "placed SSIM": 0.05,
    "local SSIM" + ONE: 0.2,
    **dict.fromkeys(("brightness", "contrast", "red", "green", "blue", "saturation"), 0.01),
    "colour shift": 0.015,
    "sharpness": 0.1,
    "grain": 0.004,
    "image distance": 0.01,
    **{name + ONE: 0.04 for name in ("brightness", "contrast", "saturation", "colour shift")},
    "sharpness" + ONE: 0.4,
    "grain" + ONE: 0.012,
    "image distance" + ONE: 0.1,
    "FID": 0.005,
    "KID": 0.005,
}

# Pixel by pixel, so that they say nothing of other weights; nor does any single image.
PIXELWISE = ("placed SSIM", "local SSIM", "image distance")
SETS = ("FID", "KID")
SETS_OF = {COARSE: OTHER, OTHER: OTHER}  # what two sets may differ by; the rest: as near

Seen = Mapping[str, Mapping[str, float]]  # metric -> "mean" | "bound" | "one" | "set" -> the loss
Table = dict[str, dict[str, tuple[float, str]]]  # kind -> limit -> value, "seen" | "least"


def seen(reading: Reading, reference: Reading) -> Seen:
    """How far a healthy change moved each metric, at worst, over disjoint subsets of its images.

    "mean": of 8 images; "bound": the 99 % bound of the mean of 16; "one": of a single image. Each 0
    or more, in the metric's unit. Raises ValueError for fewer than 16 images, or one not finite.
    """
    small, large = _profiles(reading, reference, SMALL), _profiles(reading, reference, LARGE)
    if not large:
        raise ValueError(f"{len(reading.images)} images are fewer than {LARGE}")
    if not all(np.isfinite(values).all() for each in small for values in each.against.values()):
        raise ValueError("a metric is not a number: this change is not healthy")
    return {
        name: {
            "mean": max(_loss(name, paired(each.losses(name)).mean) for each in small),
            "bound": max(_bound(name, each) for each in large),
            "one": max(_loss(name, value) for each in small for value in each.losses(name)),
        }
        for name in small[0].against
    }


def set_seen(reading: Reading, reference: Reading) -> Seen:
    """FID and KID of two sets of 500 images and more, 0 where they came out below it."""
    sets = None
    if reading.embeddings is not None and reference.embeddings is not None:
        sets = distribution(reading.embeddings, reference.embeddings)
    if sets is None or not math.isfinite(sets.fid + sets.kid):
        raise ValueError(f"{sets} is no distance of two sets of 500 images")
    return {"FID": {"set": max(0.0, sets.fid)}, "KID": {"set": max(0.0, sets.kid)}}


def derive(changes: Sequence[Mapping[str, Any]]) -> Table:
    """The table of `latentcy.gates.tolerances`, from each healthy change's "kind" and "seen"."""
    return {kind: _of_kind(kind, changes) for kind in KINDS}


def asked(kind: str, limit: str, changes: Sequence[Mapping[str, Any]]) -> float:
    """What the healthy changes of a kind ask a limit to be, in multiples of what was seen."""
    name = limit.removesuffix(ONE)
    kind = SETS_OF.get(kind, NEAR) if name in SETS else kind
    found = [change["seen"][name] for change in changes if change["kind"] == kind
             and name in change["seen"]]  # fmt: skip
    if name in SETS:
        return OF_SETS * max(each["set"] for each in found)
    if limit.endswith(ONE):
        return OF_ONE * max(each["one"] for each in found)
    return max(max(OF_MEAN * each["mean"], OF_BOUND * each["bound"]) for each in found)


def _of_kind(kind: str, changes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, str]]:
    table = {}
    for limit, least in LEAST.items():
        name = limit.removesuffix(ONE)
        if kind == OTHER and (name in PIXELWISE or limit.endswith(ONE)):
            continue
        wanted, least = asked(kind, limit, changes), least * WIDER[kind]
        value = _rounded_up(max(wanted, least))
        if BY_NAME[name].equal == 1 and value >= 1:
            continue  # an SSIM of 0 would be let through: no limit at all
        table[limit] = (value, "seen" if wanted > least else "least")
    return table


def _profiles(reading: Reading, reference: Reading, size: int) -> list[Profile]:
    starts = range(0, len(reading.images) - size + 1, size)
    parts = [slice(start, start + size) for start in starts]
    return [compare(reading.part(part), reference.part(part)) for part in parts]


def _loss(name: str, value: float) -> float:
    """How much of a move away from equal images is a loss, 0 or more."""
    return max(0.0, float(lost(name, np.asarray(value))))


def _bound(name: str, profile: Profile) -> float:
    """The loss that the 99 % bounds of a mean do not rule out."""
    bounds = paired(profile.losses(name))
    return max(_loss(name, bounds.low), _loss(name, bounds.high))


def _rounded_up(value: float) -> float:
    """To two significant digits."""
    digits = 1 - math.floor(math.log10(value))
    scaled = round(value * 10**digits, 6)  # so that 0.05 does not become 0.051
    return round(math.ceil(scaled) / 10**digits, digits)
