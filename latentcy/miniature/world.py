"""The miniature's world: 64x64 captioned scenes that are drawn by code.

A scene is decided first (things, colours, places), then captioned and drawn, so that every
attribute a caption states can be checked against the picture by code (`reader`).
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

SIZE = 64
PUBLISHED_PROMPTS = (
    "a photo of an astronaut riding a horse on mars",
    "a golden vase with different flowers",
)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 45),
    "orange": (245, 130, 25),
    "yellow": (250, 215, 45),
    "green": (40, 160, 65),
    "blue": (45, 90, 215),
    "purple": (140, 55, 175),
    "pink": (245, 140, 190),
    "white": (245, 245, 245),
    "black": (25, 25, 28),
    "gray": (135, 135, 140),
    "brown": (120, 72, 40),
    "golden": (205, 160, 40),
}
THING_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
BACKGROUNDS = ("white", "black", "gray", "blue", "green", "red", "yellow")
VASE_COLOURS = ("golden", "blue", "white", "red", "green", "purple")
FLOWER_COLOURS = ("red", "yellow", "pink", "purple", "orange")
VASE_BACKGROUNDS = ("white", "black", "gray", "blue")

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond")
OBJECTS = ("house", "tree", "car", "fish")


@dataclass(frozen=True)
class Place:
    """A place: how it is called, its sky and ground, and the horse colours visible in it."""

    phrase: str
    sky: tuple[int, int, int]
    ground: tuple[int, int, int]
    horses: tuple[str, ...]


PLACES: dict[str, Place] = {
    "mars": Place("on mars", (222, 165, 125), (178, 72, 38), ("white", "black", "gray")),
    "moon": Place("on the moon", (12, 12, 22), (165, 165, 172), ("white", "brown")),
    "meadow": Place(
        "in a meadow", (140, 200, 245), (85, 170, 70), ("white", "black", "brown", "gray")
    ),
    "beach": Place(
        "on a beach", (140, 200, 245), (238, 208, 145), ("white", "black", "brown", "gray")
    ),
    "snow": Place("in the snow", (120, 130, 190), (245, 248, 252), ("black", "brown", "gray")),
}
PLACE_COLOURS: dict[str, tuple[str, ...]] = {
    "mars": ("white", "black", "blue", "green", "yellow"),
    "moon": ("white", "red", "yellow", "blue", "green"),
    "meadow": ("white", "black", "red", "yellow", "purple"),
    "beach": ("white", "black", "red", "green", "purple"),
    "snow": ("black", "red", "green", "yellow", "orange"),
}
KINDS = (*SHAPES, *OBJECTS, "horse", "astronaut", "rider", "vase")
SIDES = ("left", "centre", "right")


@dataclass(frozen=True)
class Thing:
    """One thing in a scene. `stated` names the attributes that the caption mentions."""

    kind: str
    colour: str
    size: str = "medium"
    side: str = "centre"
    flowers: str | None = None
    stated: frozenset[str] = frozenset({"kind", "colour"})


@dataclass(frozen=True)
class Scene:
    """What is drawn: one thing, or two from left to right, before a background or in a place."""

    things: tuple[Thing, ...]
    background: str | None = None
    place: str | None = None
    background_stated: bool = True
    told_from_right: bool = False

    @property
    def caption(self) -> str:
        """The scene in words, without "a photo of"."""
        return _article(f"{_things_phrase(self)}{_where_phrase(self)}")


def scene(rng: random.Random) -> Scene:
    """A random scene; single things, pairs, vases and places in fixed proportions."""
    draw = rng.random()
    if draw < 0.40:
        return _single(rng)
    if draw < 0.60:
        return _pair(rng)
    if draw < 0.71:
        return _vase(rng)
    return _placed(rng)


def held_out(caption: str) -> bool:
    """Whether training never sees the caption: one in ten, by hash; never a published prompt."""
    bare = caption.removeprefix("a photo of ")
    if any(bare == prompt.removeprefix("a photo of ") for prompt in PUBLISHED_PROMPTS):
        return False
    return int(hashlib.sha256(bare.encode()).hexdigest(), 16) % 10 == 0


def training_scenes(count: int, seed: int) -> Iterator[tuple[Scene, str]]:
    """`count` scenes with captions that are not held out; a third begins "a photo of"."""
    yield from _filtered(count, seed, wanted=lambda caption: not held_out(caption))


def held_out_scenes(count: int, seed: int) -> Iterator[tuple[Scene, str]]:
    """`count` scenes with distinct captions that no training step sees."""
    seen: set[str] = set()
    for item, caption in _filtered(count * 50, seed, wanted=held_out):
        if item.caption in seen:
            continue
        seen.add(item.caption)
        yield item, caption
        if len(seen) == count:
            return


def change_one(item: Scene, attribute: str, rng: random.Random) -> Scene | None:
    """The scene with exactly one stated attribute of its caption changed.

    Args:
        attribute: `colour`, `shape`, `place` (a place or a background) or `side`.

    Returns None where the caption does not state the attribute.
    """
    changer = {
        "colour": _change_colour,
        "shape": _change_shape,
        "place": _change_place,
        "side": _change_side,
    }[attribute]
    return changer(item, rng)


def _filtered(count: int, seed: int, wanted) -> Iterator[tuple[Scene, str]]:
    rng = random.Random(seed)
    given = 0
    while given < count:
        item = scene(rng)
        if not wanted(item.caption):
            continue
        given += 1
        yield item, f"a photo of {item.caption}" if rng.random() < 0.33 else item.caption


def _single(rng: random.Random) -> Scene:
    background = rng.choice(BACKGROUNDS)
    kind = rng.choice(SHAPES if rng.random() < 0.68 else OBJECTS)
    thing = Thing(kind, _other(rng, THING_COLOURS, background))
    stated = set(thing.stated)
    if rng.random() < 0.4:
        thing = replace(thing, side=rng.choice(("left", "right")))
        stated.add("side")
    if rng.random() < 0.35:
        size = rng.choice(("small", "large") if thing.side == "centre" else ("small",))
        thing = replace(thing, size=size)
        stated.add("size")
    return Scene((replace(thing, stated=frozenset(stated)),), background=background)


def _pair(rng: random.Random) -> Scene:
    background = rng.choice(BACKGROUNDS)
    left = Thing(rng.choice(SHAPES), _other(rng, THING_COLOURS, background), "paired", "left")
    right = Thing(rng.choice(SHAPES), _other(rng, THING_COLOURS, background), "paired", "right")
    if (left.kind, left.colour) == (right.kind, right.colour):
        return _pair(rng)
    return Scene((left, right), background=background, told_from_right=rng.random() < 0.5)


def _vase(rng: random.Random) -> Scene:
    background = rng.choice(VASE_BACKGROUNDS)
    colour = _other(rng, VASE_COLOURS, background)
    flowers = "different" if rng.random() < 0.4 else rng.choice(FLOWER_COLOURS)
    thing = Thing("vase", colour, flowers=flowers)
    return Scene((thing,), background=background, background_stated=rng.random() < 0.6)


def _placed(rng: random.Random) -> Scene:
    place = rng.choice(tuple(PLACES))
    kinds = ("rider", "rider", "rider", "horse", "horse", "astronaut", "house", "car")
    kind = rng.choice(tuple(k for k in kinds if (k, place) != ("astronaut", "snow")))
    if kind == "astronaut":
        thing = Thing(kind, "white", stated=frozenset({"kind"}))
    elif kind in ("horse", "rider"):
        stated = {"kind", "colour"} if rng.random() < 0.6 else {"kind"}
        thing = Thing(kind, rng.choice(PLACES[place].horses), stated=frozenset(stated))
    else:
        thing = Thing(kind, rng.choice(PLACE_COLOURS[place]))
    return Scene((thing,), place=place)


def _other(rng: random.Random, choices: tuple[str, ...], *taken: str) -> str:
    return rng.choice([choice for choice in choices if choice not in taken])


def _things_phrase(item: Scene) -> str:
    if len(item.things) == 1:
        return _thing_phrase(item.things[0])
    left, right = (_thing_phrase(thing) for thing in item.things)
    if item.told_from_right:
        return f"{right} to the right of {_article(left)}"
    return f"{left} to the left of {_article(right)}"


def _thing_phrase(thing: Thing) -> str:
    colour = f"{thing.colour} " if "colour" in thing.stated else ""
    if thing.kind == "rider":
        return f"astronaut riding a {colour}horse"
    if thing.kind == "vase":
        return f"{colour}vase with {thing.flowers} flowers"
    size = f"{thing.size} " if "size" in thing.stated else ""
    side = f" on the {thing.side}" if "side" in thing.stated else ""
    return f"{size}{colour}{thing.kind}{side}"


def _where_phrase(item: Scene) -> str:
    if item.place is not None:
        return f" {PLACES[item.place].phrase}"
    return f" on {_article(item.background)} background" if item.background_stated else ""


def _article(noun: str | None) -> str:
    return f"an {noun}" if noun and noun[0] in "aeiou" else f"a {noun}"


def _change_colour(item: Scene, rng: random.Random) -> Scene | None:
    index = rng.randrange(len(item.things))
    thing = item.things[index]
    if "colour" not in thing.stated:
        return None
    if item.place is not None:
        horse = thing.kind in ("horse", "rider")
        choices = PLACES[item.place].horses if horse else PLACE_COLOURS[item.place]
    else:
        choices = VASE_COLOURS if thing.kind == "vase" else THING_COLOURS
    taken = [t.colour for t in item.things] + [item.background or ""]
    return _with_thing(item, index, replace(thing, colour=_other(rng, choices, *taken)))


def _change_shape(item: Scene, rng: random.Random) -> Scene | None:
    index = rng.randrange(len(item.things))
    thing = item.things[index]
    if thing.kind == "vase":
        return None
    if item.place is None:
        kinds: tuple[str, ...] = SHAPES if thing.kind in SHAPES else OBJECTS
    elif thing.kind in ("horse", "rider"):
        kinds = ("horse", "rider")
    elif thing.kind == "astronaut":
        return None
    else:
        kinds = ("house", "car")
    taken = [t.kind for t in item.things]
    return _with_thing(item, index, replace(thing, kind=_other(rng, kinds, *taken)))


def _change_place(item: Scene, rng: random.Random) -> Scene | None:
    if item.place is not None:
        return replace(item, place=_other(rng, tuple(PLACES), item.place))
    if not item.background_stated:
        return None
    colours = [thing.colour for thing in item.things]
    return replace(item, background=_other(rng, BACKGROUNDS, item.background or "", *colours))


def _change_side(item: Scene, rng: random.Random) -> Scene | None:
    if len(item.things) == 2:
        first, second = item.things
        return replace(item, things=(replace(second, side="left"), replace(first, side="right")))
    thing = item.things[0]
    if "side" not in thing.stated:
        return None
    other = "left" if thing.side == "right" else "right"
    return replace(item, things=(replace(thing, side=other),))


def _with_thing(item: Scene, index: int, thing: Thing) -> Scene:
    things = list(item.things)
    things[index] = thing
    return replace(item, things=tuple(things))
