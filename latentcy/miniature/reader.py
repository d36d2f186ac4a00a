"""Reads a picture's attributes back by code: kinds, colours, sides, background or place.

No network is involved: the background is fitted to the picture's border, what differs from it
is cut out, its colour is voted by its pixels and its kind is the nearest silhouette that the
world draws. What a caption states can so be checked on generated pictures (`check`).
"""

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from latentcy.miniature.drawing import draw
from latentcy.miniature.world import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    PLACES,
    SHAPES,
    SIZE,
    THING_COLOURS,
    VASE_COLOURS,
    Scene,
    Thing,
)

_CONTRAST = 45.0  # RGB distance from the ground at which a pixel belongs to a thing
_LEAST_PIXELS = 30
_GRID = 24
_SOFTNESS = (0.0, 1.0, 1.8)  # pixels of blur: generated corners are rounder than drawn ones


@dataclass(frozen=True)
class Found:
    """One thing found in a picture; `x` is its centre in pixels."""

    mask: np.ndarray
    x: float

    @property
    def side(self) -> str:
        if self.x < SIZE * 0.42:
            return "left"
        return "right" if self.x > SIZE * 0.58 else "centre"


def check(image: np.ndarray, scene: Scene) -> dict[str, bool]:
    """Whether the picture shows what the scene's caption states.

    Args:
        image: uint8 [64, 64, 3].

    Returns one entry per stated attribute: `kind`, `colour`, `background`, `place`, `side`; for
    a pair of things `first kind`, `second colour` and so on, and one `side` for their order.
    """
    ground = _ground(image)
    results: dict[str, bool] = {}
    if scene.place is not None:
        results["place"] = ground == scene.place
    elif scene.background_stated:
        results["background"] = ground == scene.background
    found = _things(image, ground, most=len(scene.things))
    if len(scene.things) == 1:
        return results | _check_thing(image, found[0] if found else None, scene.things[0], scene)
    return results | _check_pair(image, found, scene)


def _check_thing(
    image: np.ndarray, there: Found | None, thing: Thing, scene: Scene
) -> dict[str, bool]:
    stated = sorted(thing.stated & {"kind", "colour", "side"})
    if there is None:
        return dict.fromkeys(stated, False)
    return {
        attribute: _read(image, there, thing, scene, attribute) == getattr(thing, attribute)
        for attribute in stated
    }


def _check_pair(image: np.ndarray, found: list[Found], scene: Scene) -> dict[str, bool]:
    """Kinds and colours in whichever order fits better, so that a swap is one error, of side."""
    left, right = scene.things
    names = ("first kind", "first colour", "second kind", "second colour")
    if len(found) != 2:
        return dict.fromkeys((*names, "side"), False)

    def fits(order: list[Found]) -> list[bool]:
        return [
            _read(image, there, thing, scene, attribute) == getattr(thing, attribute)
            for there, thing in zip(order, (left, right), strict=True)
            for attribute in ("kind", "colour")
        ]

    as_asked, swapped = fits(found), fits(found[::-1])
    kept = sum(as_asked) >= sum(swapped)
    best = as_asked if kept else swapped
    return dict(zip(names, best, strict=True)) | {"side": kept and any(best)}


def _read(image: np.ndarray, there: Found, thing: Thing, scene: Scene, attribute: str) -> str:
    if attribute == "side":
        return there.side
    if attribute == "kind":
        return _kind(there.mask, placed=scene.place is not None)
    return _colour(image, there.mask, thing, scene)


def _ground(image: np.ndarray) -> str:
    """The background colour or place whose sky and ground are nearest to the border."""
    top, bottom = _band(image[:4, :40]), _band(image[-3:])
    candidates = {name: (COLOURS[name], COLOURS[name]) for name in BACKGROUNDS}
    candidates |= {name: (place.sky, place.ground) for name, place in PLACES.items()}

    def distance(name: str) -> float:
        sky, soil = (np.asarray(colour, float) for colour in candidates[name])
        return float(np.linalg.norm(top - sky) + np.linalg.norm(bottom - soil))

    return min(candidates, key=distance)


def _band(pixels: np.ndarray) -> np.ndarray:
    return np.median(pixels.reshape(-1, 3).astype(float), axis=0)


def _things(image: np.ndarray, ground: str, most: int) -> list[Found]:
    """The `most` largest things before the ground, from left to right."""
    mask = np.linalg.norm(image.astype(float) - _backdrop(image, ground), axis=-1) > _CONTRAST
    if ground in PLACES:
        mask[:16, 46:] = False  # the sun
        mask = ndimage.binary_opening(mask, np.ones((2, 2)))
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    masks = [labels == number for number in range(1, count + 1)]
    masks = sorted((m for m in masks if m.sum() >= _LEAST_PIXELS), key=lambda m: -m.sum())
    if ground in PLACES and masks:
        masks = [np.logical_or.reduce(masks)]
    if len(masks) == 1 and most == 2:
        masks = _split(masks[0])
    found = [_found(image, mask, ground) for mask in masks[:most]]
    return sorted(found, key=lambda item: item.x)


def _found(image: np.ndarray, mask: np.ndarray, ground: str) -> Found:
    """The mask cut back to half of the thing's own contrast: a soft edge is no part of it."""
    distance = np.linalg.norm(image.astype(float) - _backdrop(image, ground), axis=-1)
    inner = ndimage.binary_erosion(mask)
    inner = inner if inner.sum() >= 12 else mask
    sharp = mask & (distance > 0.5 * np.percentile(distance[inner], 25))
    return Found(sharp, _middle(sharp))


def _backdrop(image: np.ndarray, ground: str) -> np.ndarray:
    """The empty ground as float [64, 64, 3]; a place's horizon is read at the picture's edges."""
    top, bottom = _band(image[:4, :40]), _band(image[-3:])
    backdrop = np.empty((SIZE, SIZE, 3))
    backdrop[:] = bottom if ground in PLACES else _band(np.concatenate([image[:3], image[-3:]]))
    if ground not in PLACES:
        return backdrop
    edge = np.median(np.concatenate([image[:, :3], image[:, -3:]], axis=1).astype(float), axis=1)
    above = np.linalg.norm(edge - top, axis=-1) < np.linalg.norm(edge - bottom, axis=-1)
    horizon = int(np.argmin(above[30:])) + 30 if not above[30:].all() else 41
    backdrop[:horizon] = top
    return backdrop


def _middle(mask: np.ndarray) -> float:
    columns = np.flatnonzero(mask.any(axis=0))
    return float(columns[0] + columns[-1] + 1) / 2


def _split(mask: np.ndarray) -> list[np.ndarray]:
    """Two touching things, cut at the emptiest column near the middle."""
    cut = 24 + int(np.argmin(mask.sum(axis=0)[24:40]))
    left, right = mask.copy(), mask.copy()
    left[:, cut:] = False
    right[:, :cut] = False
    return [left, right] if min(left.sum(), right.sum()) >= _LEAST_PIXELS else [mask]


def _colour(image: np.ndarray, mask: np.ndarray, thing: Thing, scene: Scene) -> str:
    """The palette colour nearest to most of the thing's inner pixels."""
    names: tuple[str, ...] = THING_COLOURS
    inner = ndimage.binary_erosion(mask)
    inner = inner if inner.sum() >= 12 else mask
    rows = np.flatnonzero(mask.any(axis=1))
    if thing.kind == "vase":
        names = VASE_COLOURS
        inner = _below(inner, rows, 0.68)
    elif thing.kind in ("horse", "rider"):
        names = tuple(dict.fromkeys(name for p in PLACES.values() for name in p.horses))
        inner = _below(inner, rows, 0.5) if thing.kind == "rider" else inner
    elif thing.kind == "house":
        inner = _below(inner, rows, 0.45)
    elif thing.kind == "tree":
        inner = _above(inner, rows, 0.6)
    votes = _nearest(image[inner].astype(float), names)
    return max(names, key=lambda name: votes.get(name, 0))


def _below(mask: np.ndarray, rows: np.ndarray, share: float) -> np.ndarray:
    kept = mask.copy()
    kept[: rows[0] + round(share * len(rows))] = False
    return kept if kept.any() else mask


def _above(mask: np.ndarray, rows: np.ndarray, share: float) -> np.ndarray:
    kept = mask.copy()
    kept[rows[0] + round(share * len(rows)) :] = False
    return kept if kept.any() else mask


def _nearest(pixels: np.ndarray, names: tuple[str, ...]) -> dict[str, int]:
    palette = np.asarray([COLOURS[name] for name in names], float)
    index = np.linalg.norm(pixels[:, None] - palette[None], axis=-1).argmin(axis=1)
    return {names[i]: int(n) for i, n in zip(*np.unique(index, return_counts=True), strict=True)}


def _kind(mask: np.ndarray, placed: bool) -> str:
    """The kind whose drawn silhouette overlaps most with the mask, size and place apart."""
    allowed = ("horse", "rider", "astronaut", "house", "car") if placed else KINDS
    seen, aspect = _silhouette(mask)

    def quality(kind: str) -> float:
        scores = []
        for template, its_aspect in _templates(kind):
            overlap = np.minimum(seen, template).sum() / np.maximum(seen, template).sum()
            scores.append(overlap - 0.35 * abs(np.log(aspect / its_aspect)))
        return max(scores)

    return max(allowed, key=quality)


def _silhouette(mask: np.ndarray) -> tuple[np.ndarray, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    picture = Image.fromarray((box * 255).astype(np.uint8)).resize((_GRID, _GRID), 2)
    return np.asarray(picture) / 255.0, len(columns) / len(rows)


@cache
def _templates(kind: str) -> tuple[tuple[np.ndarray, float], ...]:
    rng = random.Random(0)
    placed = kind in ("horse", "rider", "astronaut")
    sizes = ("paired", "medium", "small") if kind in SHAPES else ("medium", "small")
    templates = []
    for size in sizes:
        flowers = "red" if kind == "vase" else None
        thing = Thing(kind, "black", size=size, flowers=flowers)
        if placed:
            scene = Scene((thing,), place="meadow")
        else:
            scene = Scene((thing,), background="gray" if kind == "vase" else "white")
        image = draw(scene, rng)
        for softness in _SOFTNESS:
            soft = ndimage.gaussian_filter(image, (softness, softness, 0))
            mask = _things(soft, scene.place or scene.background or "", most=1)[0].mask
            templates.append(_silhouette(mask))
    return tuple(templates)
