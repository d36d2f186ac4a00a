"""Draws scenes of the world: 64x64 RGB pictures, drawn at four times the size and reduced."""

import math
import random

import numpy as np
from PIL import Image, ImageDraw

from latentcy.miniature.world import COLOURS, FLOWER_COLOURS, PLACES, SIZE, Scene, Thing

_SCALE = 4
_DIAMETER = {"small": 21, "medium": 31, "large": 45, "paired": 25}
_CENTRE = {"left": 18, "centre": 32, "right": 46}
_JITTER_PIXELS = 2.0
Pen = ImageDraw.ImageDraw
Colour = tuple[int, int, int]


def draw(item: Scene, rng: random.Random) -> np.ndarray:
    """A picture of the scene, uint8 [64, 64, 3].

    What a scene leaves open (exact place, size, shade) is drawn from `rng`.
    """
    canvas = Image.new("RGB", (SIZE * _SCALE, SIZE * _SCALE), _ground(item, rng))
    pen = ImageDraw.Draw(canvas)
    if item.place is not None:
        _place(pen, item.place, rng)
    for thing in item.things:
        _thing(pen, item, thing, rng)
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX))


def _ground(item: Scene, rng: random.Random) -> Colour:
    return _shade(PLACES[item.place].sky if item.place else COLOURS[item.background or ""], rng)


def _shade(colour: Colour, rng: random.Random) -> Colour:
    offset = rng.uniform(-8, 8)
    return tuple(round(min(255, max(0, c + offset))) for c in colour)  # type: ignore[return-value]


def _place(pen: Pen, place: str, rng: random.Random) -> None:
    horizon = (41 + rng.uniform(-2, 2)) * _SCALE
    full = SIZE * _SCALE
    pen.rectangle((0, horizon, full, full), fill=_shade(PLACES[place].ground, rng))
    if place in ("meadow", "beach"):
        x, y, r = (55 * _SCALE, 8 * _SCALE, 4.5 * _SCALE)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=COLOURS["yellow"])


def _thing(pen: Pen, item: Scene, thing: Thing, rng: random.Random) -> None:
    colour = _shade(COLOURS[thing.colour], rng)
    radius = _DIAMETER[thing.size] * rng.uniform(0.95, 1.05) / 2
    x = _CENTRE[thing.side] + rng.uniform(-_JITTER_PIXELS, _JITTER_PIXELS)
    y = SIZE / 2 + rng.uniform(-_JITTER_PIXELS, _JITTER_PIXELS)
    if item.place is not None:
        radius, y = 24 * rng.uniform(0.95, 1.02), 35 + rng.uniform(-1.5, 1.5)
        if thing.kind in ("house", "car"):
            radius *= 0.75
    if thing.kind == "vase":
        radius = 26 * rng.uniform(0.95, 1.02)
        _vase(_Brush(pen, x, y, radius), colour, thing.flowers or "different", rng)
        return
    _KINDS[thing.kind](_Brush(pen, x, y, radius), colour)


class _Brush:
    """Draws in a thing's own frame: the unit square around its centre, y downwards."""

    def __init__(self, pen: Pen, x: float, y: float, radius: float) -> None:
        self._pen, self._x, self._y, self._radius = pen, x, y, radius

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self._pen.polygon([self._at(*p) for p in points], fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self._pen.rectangle((*self._at(left, top), *self._at(right, bottom)), fill=colour)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self._pen.ellipse((*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)), fill=colour)

    def hoop(self, width: float, colour: Colour) -> None:
        self._pen.ellipse(
            (*self._at(-1, -1), *self._at(1, 1)),
            outline=colour,
            width=round(width * self._radius * _SCALE),
        )

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return (
            (self._x + x * self._radius) * _SCALE,
            (self._y + y * self._radius) * _SCALE,
        )


_WHITE, _DARK, _VISOR = (243, 243, 243), (40, 36, 36), (45, 70, 140)
_STEM, _GLASS, _WOOD = (40, 120, 55), (190, 220, 240), (110, 66, 38)


def _circle(brush: _Brush, colour: Colour) -> None:
    brush.disc(0, 0, 1, 1, colour)


def _square(brush: _Brush, colour: Colour) -> None:
    brush.box(-0.88, -0.88, 0.88, 0.88, colour)


def _triangle(brush: _Brush, colour: Colour) -> None:
    brush.polygon([(0, -1), (1.05, 0.85), (-1.05, 0.85)], colour)


def _star(brush: _Brush, colour: Colour) -> None:
    points = []
    for corner in range(10):
        radius = 1.15 if corner % 2 == 0 else 0.48
        angle = math.pi * corner / 5 - math.pi / 2
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    brush.polygon(points, colour)


def _heart(brush: _Brush, colour: Colour) -> None:
    points = []
    for step in range(60):
        t = 2 * math.pi * step / 60
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 15.5, -y / 15.5))
    brush.polygon(points, colour)


def _cross(brush: _Brush, colour: Colour) -> None:
    brush.box(-0.33, -1, 0.33, 1, colour)
    brush.box(-1, -0.33, 1, 0.33, colour)


def _ring(brush: _Brush, colour: Colour) -> None:
    brush.hoop(0.45, colour)


def _diamond(brush: _Brush, colour: Colour) -> None:
    brush.polygon([(0, -1.15), (0.8, 0), (0, 1.15), (-0.8, 0)], colour)


def _house(brush: _Brush, colour: Colour) -> None:
    brush.box(-0.8, -0.2, 0.8, 1, colour)
    brush.polygon([(0, -1.05), (1.1, -0.2), (-1.1, -0.2)], _WOOD)
    brush.box(-0.2, 0.35, 0.2, 1, _WOOD)


def _tree(brush: _Brush, colour: Colour) -> None:
    brush.box(-0.16, 0.1, 0.16, 1.1, _WOOD)
    for x, y, r in ((0, -0.55, 0.55), (-0.45, -0.15, 0.5), (0.45, -0.15, 0.5)):
        brush.disc(x, y, r, r, colour)


def _car(brush: _Brush, colour: Colour) -> None:
    brush.polygon([(-0.65, -0.1), (-0.4, -0.6), (0.35, -0.6), (0.65, -0.1)], colour)
    brush.polygon([(-0.42, -0.12), (-0.28, -0.46), (0.25, -0.46), (0.42, -0.12)], _GLASS)
    brush.box(-1.15, -0.12, 1.15, 0.42, colour)
    for x in (-0.65, 0.65):
        brush.disc(x, 0.45, 0.27, 0.27, _DARK)


def _fish(brush: _Brush, colour: Colour) -> None:
    brush.disc(-0.15, 0, 0.85, 0.55, colour)
    brush.polygon([(0.5, 0), (1.15, -0.6), (1.15, 0.6)], colour)
    brush.disc(-0.6, -0.12, 0.12, 0.12, _DARK if sum(colour) > 150 else _WHITE)


def _horse(brush: _Brush, colour: Colour) -> None:
    brush.disc(-0.12, 0.18, 0.62, 0.27, colour)
    for x in (-0.62, -0.36, 0.14, 0.36):
        brush.box(x - 0.085, 0.25, x + 0.085, 0.98, colour)
    brush.polygon([(0.2, 0.25), (0.5, 0.2), (0.86, -0.4), (0.6, -0.52)], colour)
    brush.polygon([(0.6, -0.58), (0.86, -0.42), (1.1, -0.12), (0.96, -0.02), (0.7, -0.25)], colour)
    brush.polygon([(-0.7, 0.0), (-0.62, 0.14), (-0.92, 0.58), (-1.04, 0.5)], colour)


def _astronaut(brush: _Brush, colour: Colour) -> None:
    brush.disc(0, -0.68, 0.3, 0.3, _WHITE)
    brush.disc(0.08, -0.68, 0.18, 0.19, _VISOR)
    brush.box(-0.26, -0.42, 0.26, 0.3, _WHITE)
    for x in (-0.4, 0.4):
        brush.box(x - 0.12, -0.38, x + 0.12, 0.14, _WHITE)
    for x in (-0.17, 0.17):
        brush.box(x - 0.14, 0.26, x + 0.14, 0.98, _WHITE)


def _rider(brush: _Brush, colour: Colour) -> None:
    _horse(brush, colour)
    brush.disc(-0.08, -0.82, 0.25, 0.25, _WHITE)
    brush.disc(0.0, -0.82, 0.15, 0.16, _VISOR)
    brush.box(-0.27, -0.6, 0.11, 0.04, _WHITE)
    brush.polygon([(0.0, -0.45), (0.42, -0.18), (0.38, -0.05), (0.0, -0.22)], _WHITE)
    brush.polygon([(-0.2, -0.02), (0.1, -0.02), (0.16, 0.5), (-0.04, 0.5)], _WHITE)


def _vase(brush: _Brush, colour: Colour, flowers: str, rng: random.Random) -> None:
    heads = ((-0.5, -0.5), (0.0, -0.72), (0.5, -0.5))
    for x, y in heads:
        brush.polygon([(x - 0.04, y), (x + 0.04, y), (0.06, 0.15), (-0.06, 0.15)], _STEM)
    names = rng.sample(FLOWER_COLOURS, 3) if flowers == "different" else [flowers] * 3
    for (x, y), name in zip(heads, names, strict=True):
        brush.disc(x, y, 0.27, 0.27, COLOURS[name])
        brush.disc(x, y, 0.09, 0.09, _WOOD)
    brush.box(-0.24, 0.0, 0.24, 0.3, colour)
    brush.disc(0, 0.52, 0.5, 0.42, colour)
    brush.box(-0.3, 0.8, 0.3, 0.98, colour)


_KINDS = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "diamond": _diamond,
    "house": _house,
    "tree": _tree,
    "car": _car,
    "fish": _fish,
    "horse": _horse,
    "astronaut": _astronaut,
    "rider": _rider,
}
