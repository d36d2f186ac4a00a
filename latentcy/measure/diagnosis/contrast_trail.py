"""Where did a finite image lose its contrast? Its spread is followed through the pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from latentcy.measure.diagnosis.handovers import Handover
from latentcy.measure.diagnosis.module_hooks import modules_of
from latentcy.measure.diagnosis.tensor_facts import ends, floats, parts
from latentcy.measure.images.health import as_pixels, pixel_fault
from latentcy.pipelines.families import family_of

FLAT_LATENTS = 0.02
"""Latents of less spread than this, in the scheduler's scale, are flat: noise has 1, and the least
of 240 healthy scenes of the miniature had 0.13 after the last step."""

LOST_SHARE = 0.2
"""Latents of less than this share of the spread that they had a moment ago have lost it."""

CONSTANT = 1e-3
"""A tensor is constant over space where it ranges over no more than this share of its magnitude:
the last bit of float16 and some."""


@dataclass(frozen=True)
class Point:
    """One image's values at one handover.

    Attributes:
        kind: the handover's.
        where: the stage, in words.
        spread: standard deviation over space, root mean square over the channels.
        low: least value.
        high: greatest value.
        fault: what is wrong with it as an image: "black", "flat", "low contrast", or "".
    """

    kind: str
    where: str
    spread: float
    low: float
    high: float
    fault: str = ""

    @property
    def constant(self) -> bool:
        """Whether it hardly changes over space at all."""
        return self.spread <= CONSTANT * max(abs(self.low), abs(self.high))


@dataclass
class Trail:
    """The spread of one image of a batch, from handover to handover.

    `image` is its place among the `images` of the batch.
    """

    image: int
    images: int
    points: list[Point] = field(default_factory=list)
    first_constant: dict[str, str] = field(default_factory=dict)  # a module's name for each stage
    _known: set[str] = field(default_factory=set)

    def take(self, handover: Handover) -> None:
        """Note the spread of what is handed on; other batches than this one's are left out."""
        if len(handover.values) != self.images:
            return
        if handover.kind == "embedding" and self.at("embedding"):
            return  # what follows is of the negative prompt
        row = handover.values[self.image].detach().float()
        over = -2 if handover.kind == "embedding" else (-2, -1)
        spread = row.std(dim=over, correction=0).square().mean().sqrt()
        fault = None
        if handover.kind in ("decoded", "checked") and len(row) == 3:
            fault = pixel_fault(as_pixels(row.cpu().numpy()))
        elif handover.kind == "final" and len(row) == 3:
            fault = pixel_fault(row.permute(1, 2, 0).cpu().numpy())
        word = fault[0] if fault else ""
        self.points.append(Point(handover.kind, handover.where, float(spread), *ends(row), word))

    def at(self, kind: str) -> Point | None:
        """The last point of a kind."""
        return next((point for point in reversed(self.points) if point.kind == kind), None)

    def note(self, name: str, output: torch.Tensor, where: Callable[[], str]) -> None:
        """Note a module whose output is the first of a stage that is constant over space.

        One that was constant at an earlier step already is so by nature.
        """
        if name not in self._known and _is_constant(output):
            self._known.add(name)
            self.first_constant.setdefault(where(), name)

    @property
    def sentence(self) -> str:
        """Where the spread was lost, and what it was on the way."""
        before, lost = self._lost()
        if lost is None:
            return f"its spread was lost nowhere that can be seen ({self._figures()})"
        by_modules = lost.kind in ("embedding", "prediction", "decoded")
        module = self.first_constant.get(lost.where) if by_modules else None
        named = f", the first constant output being that of {module}" if module else ""
        return f"{self._words(before, lost)}{named} (spread over space: {self._figures()})"

    def _lost(self) -> tuple[Point | None, Point | None]:
        """The first point without a healthy spread, and the one before it of the same kind."""
        before: dict[str, Point] = {}
        for point in self.points:
            scale = "latents" if point.kind in ("noise", "latents", "handed") else point.kind
            previous = before.get(scale)
            if _is_lost(point, previous):
                return before.get("decoded" if point.kind in ("checked", "final") else scale), point
            before[scale] = point
        return None, None

    def _words(self, before: Point | None, lost: Point) -> str:
        fall = f"{before.spread:.3g} to {lost.spread:.3g}" if before else f"{lost.spread:.3g}"
        if lost.kind == "embedding":
            return "the prompt's embedding is constant over its tokens from the text encoder on"
        if lost.kind == "noise":
            return f"the latents were flat before the first step, with a spread of {fall}"
        if lost.kind == "prediction":
            return f"the UNet's output had no spread {lost.where} (its spread went from {fall})"
        if lost.kind == "latents":
            return f"the latents lost their spread in the scheduler {lost.where} (from {fall})"
        if lost.kind == "handed":
            return (
                "the latents lost their spread between the last step and the decoder, where they "
                f"are divided by the scaling factor (from {fall})"
            )
        if lost.kind == "decoded":
            values = f"values from {lost.low:.3g} to {lost.high:.3g}, -1 being black and 1 white"
            raw = f"the raw decoder output is {lost.fault} ({values})"
            return f"its contrast was lost while decoding: {raw}"
        place = "in run_safety_checker" if lost.kind == "checked" else "in post-processing"
        last = self.at("final")
        fault = last.fault if last and last.fault else lost.fault
        return f"the decoded image was sound and became {fault} {place}"

    def _figures(self) -> str:
        """The spreads on the way: each kind's last."""
        named = {
            "noise": "starting latents",
            "prediction": "UNet's last output",
            "latents": "last step's latents",
            "handed": "as handed to the decoder",
            "decoded": "decoded",
            "checked": "after the safety checker",
            "final": "final image",
        }
        points = [(words, self.at(kind)) for kind, words in named.items()]
        told = ", ".join(f"{words} {point.spread:.3g}" for words, point in points if point)
        return told or "the pipeline handed nothing on"


@contextmanager
def trailed(pipeline: Any, trail: Trail, where: Callable[[], str]) -> Iterator[None]:
    """Hook the pipeline's modules for the duration; `where()` gives the stage in words."""
    handles = []
    try:
        components = {name: getattr(pipeline, name, None) for name in family_of(pipeline).in_order}
        for place, module in modules_of(components):
            handles.append(module.register_forward_hook(_after(trail, ".".join(place), where)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _after(trail: Trail, name: str, where: Callable[[], str]) -> Any:
    def hook(module: nn.Module, args: tuple, output: Any) -> None:
        tensors = floats(parts(output))
        if tensors:
            trail.note(name.rstrip("."), tensors[0], where)

    return hook


def _is_lost(point: Point, previous: Point | None) -> bool:
    if point.kind in ("decoded", "checked", "final"):
        return bool(point.fault)
    if point.kind in ("embedding", "prediction"):
        return point.constant
    if point.kind == "handed" and previous is not None:
        return not point.spread >= LOST_SHARE * previous.spread
    return not point.spread >= FLAT_LATENTS


def _is_constant(output: torch.Tensor) -> bool:
    """Whether some image of the batch ranges over next to nothing: [n, c, h, w] or [n, t, c]."""
    if output.ndim not in (3, 4):
        return False
    over = (2, 3) if output.ndim == 4 else (1,)
    if math.prod(output.shape[axis] for axis in over) < 4:
        return False  # too few places to speak of space
    values = output.detach()
    high, low = values.amax(dim=over).float(), values.amin(dim=over).float()
    largest = torch.maximum(high.abs(), low.abs()).amax(dim=1)
    return bool(((high - low).amax(dim=1) <= CONSTANT * largest).any())
