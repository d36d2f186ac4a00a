"""Hooks on every module of a pipeline, which see the first non-finite value and what led to it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from latentcy.measure.diagnosis.handovers import Handover, Passage, followed
from latentcy.measure.diagnosis.overflow_origin import OverflowOrigin
from latentcy.measure.diagnosis.tensor_facts import (
    amount,
    broken_rows,
    dtype_name,
    floats,
    is_finite,
    magnitude,
    masks_at_most,
    parts,
)
from latentcy.pipelines.families import family_of

_MOST_REPEATED = 100_000_000  # parameters: a larger module is not repeated in fp32


@dataclass
class Observation:
    """What the hooks have seen so far; `origin` is set once, at the first non-finite value."""

    origin: OverflowOrigin | None = None
    largest: float = math.nan
    largest_in: str = ""
    passage: Passage | None = None
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    active: list[_Call] = field(default_factory=list)
    paused: bool = False  # while a module is repeated in fp32, with its hooks

    def where(self) -> str:
        """The stage that the generation is in, in words; "" where that is not known."""
        return self.passage.where if self.passage else ""

    def take(self, handover: Handover) -> None:
        """Look at what one part of the pipeline hands to the next."""
        place = (handover.component, handover.module)
        number = self.calls[place] = self.calls.get(place, 0) + 1
        if self.origin is not None or is_finite(handover.values):
            return
        before = [magnitude(tensor) for tensor in floats(handover.sources)]
        self.settle(
            place,
            handover.values,
            number,
            max(before, default=magnitude(handover.values)),
            born=handover.born,
        )

    def settle(
        self,
        place: tuple[str, str],
        tensor: torch.Tensor,
        call: int,
        largest_input: float,
        **more: Any,
    ) -> None:
        """Set the origin: `tensor` is the first that is not finite."""
        rows, of_rows = broken_rows(tensor)
        self.origin = OverflowOrigin(
            *place,
            dtype=dtype_name(tensor.dtype),
            rows=rows,
            of_rows=of_rows,
            call=call,
            magnitude=largest_input,
            stage=self.where(),
            amount=amount(tensor),
            largest=self.largest,
            largest_in=self.largest_in,
            **more,
        )

    def note(self, size: float, preposition: str, place: tuple[str, str]) -> None:
        """Remember the largest magnitude."""
        if size > self.largest or (math.isnan(self.largest) and not math.isnan(size)):
            self.largest = size
            self.largest_in = f"{preposition} {'.'.join(part for part in place if part)}"


@contextmanager
def watch_pipeline(pipeline: Any, also: Any = None) -> Iterator[Observation]:
    """Watch the pipeline's parts and what they hand on; `also(handover)` sees the latter too."""

    def take(handover: Handover) -> None:
        observation.take(handover)
        if also is not None:
            also(handover)

    components = {name: getattr(pipeline, name, None) for name in family_of(pipeline).in_order}
    with watch(components) as observation, followed(pipeline, take) as passage:
        observation.passage = passage
        yield observation


@contextmanager
def watch(components: dict[str, nn.Module | None]) -> Iterator[Observation]:
    """Hook all modules of the components for the duration; None components are left out."""
    observation = Observation()
    handles = []
    try:
        for place, module in modules_of(components):
            handles += [
                module.register_forward_pre_hook(_before(observation, place), with_kwargs=True),
                module.register_forward_hook(_after(observation, place), with_kwargs=True),
            ]
        yield observation
    finally:
        for handle in handles:
            handle.remove()


def modules_of(
    components: dict[str, nn.Module | None],
) -> Iterator[tuple[tuple[str, str], nn.Module]]:
    """Every module with its component and its dotted name as before torch.compile."""
    for component, root in components.items():
        if isinstance(root, nn.Module):
            for name, module in root.named_modules():
                dotted = ".".join(part for part in name.split(".") if part != "_orig_mod")
                yield (component, dotted), module


@dataclass
class _Call:
    place: tuple[str, str]
    number: int
    magnitude: float


def _before(observation: Observation, place: tuple[str, str]) -> Any:
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
        if observation.origin is not None or observation.paused:
            return
        number = observation.calls[place] = observation.calls.get(place, 0) + 1
        tensors = floats((*args, *(kwargs[name] for name in kwargs if "mask" not in name)))
        size = magnitude(tensors[0]) if tensors else math.nan
        observation.active.append(_Call(place, number, size))
        broken = _broken(tensors)
        if broken is None:
            observation.note(size, "into", place)
            return
        # All outputs so far were finite: an operation between modules made this.
        outer = observation.active[-2] if len(observation.active) > 1 else None
        if outer is None:
            name = ".".join(part for part in place if part)
            born = "before the module"
            observation.settle(("pipeline", name), broken, number, size, born=born)
        else:
            largest = max(outer.magnitude, size)
            born = "between its parts"
            observation.settle(outer.place, broken, outer.number, largest, born=born)

    return hook


def _after(observation: Observation, place: tuple[str, str]) -> Any:
    def hook(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if observation.origin is not None or observation.paused:
            return
        call = observation.active.pop()
        while call.place != place:  # a call that raised, and was caught, has left its own behind
            call = observation.active.pop()
        tensors = floats(parts(output))
        broken = _broken(tensors)
        if broken is None:
            if tensors:
                observation.note(magnitude(tensors[0]), "in", place)
            return
        born, reached = "in its weights", None
        if not _holds_non_finite(module):
            leaf = next(module.children(), None) is None
            born = "in the module" if leaf else "between its parts"
            reached = _repeat_in_fp32(observation, module, args, kwargs)
        observation.settle(
            place, broken, call.number, call.magnitude, fp32_magnitude=reached, born=born
        )

    return hook


def _broken(tensors: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The first tensor that is not finite: what is worked on comes first, masks only later."""
    for position, tensor in enumerate(tensors):
        if not is_finite(tensor) and not (position and masks_at_most(tensor)):
            return tensor
    return None


def _holds_non_finite(module: nn.Module) -> bool:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return any(not each.is_meta and not bool(torch.isfinite(each).all()) for each in own)


def _repeat_in_fp32(
    observation: Observation, module: nn.Module, args: tuple, kwargs: dict
) -> float | None:
    """Largest magnitude of the module's output in fp32; None where that cannot be had."""

    def raised(value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.float() if floating else value

    if sum(each.numel() for each in module.parameters()) > _MOST_REPEATED:
        return None
    inputs = list(map(raised, args)), {key: raised(value) for key, value in kwargs.items()}
    device = next(iter(floats((*module.parameters(), *args))), torch.empty(0)).device.type
    observation.paused = True  # a deep copy carries these very hooks
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False):
            output = copy.deepcopy(module).float().forward(*inputs[0], **inputs[1])
        tensors = floats(parts(output))
        return magnitude(tensors[0]) if tensors and is_finite(tensors[0]) else None
    except Exception:  # an explanation that cannot be had must not hide the finding
        return None
    finally:
        observation.paused = False
