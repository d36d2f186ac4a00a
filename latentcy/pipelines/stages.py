"""A generation's stages, seen from outside: text encoding, denoising, decoding."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from latentcy.core.costs import STAGES
from latentcy.pipelines.devices.device import Device, synchronize
from latentcy.pipelines.families import decoder_of, family_of
from latentcy.pipelines.interception import wrapped
from latentcy.pipelines.sampler import Sampler


@contextlib.contextmanager
def at_stages(pipeline: Any, enter: Callable[[str | None], None]) -> Iterator[None]:
    """Call enter(stage) where a call of the pipeline enters each of STAGES, enter(None) after.

    Denoising is what lies between text encoding and decoding. Nothing but the pipeline's method
    that encodes prompts and its decoder's `decode` is wrapped, and both are put back.
    """

    def encode(original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        enter("text_encoding")
        result = original(*arguments, **settings)
        enter("denoising")
        return result

    def decode(original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        enter("decoding")
        result = original(*arguments, **settings)
        enter(None)
        return result

    with (
        wrapped(pipeline, family_of(pipeline).encode, encode),
        wrapped(decoder_of(pipeline), "decode", decode),
    ):
        try:
            yield
        finally:
            enter(None)


def stage_seconds(sampler: Sampler) -> dict[str, float]:
    """Seconds of each of STAGES in one generation of the workload, as it is timed.

    The device is synchronised between stages. The workload's one prompt is encoded once, which is
    what `count_flops` counts.
    """
    clock = _StageClock(sampler.device)
    with at_stages(sampler.pipeline, clock.enter):
        sampler.generate()
    return clock.seconds


@contextlib.contextmanager
def with_few_steps(sampler: Sampler, steps: int | None) -> Iterator[Sampler]:
    """The same sampler with a workload of `steps` steps; None leaves it as it is.

    It shares the pipeline, whose scheduler is back in its present state afterwards.
    """
    short = copy.copy(sampler)
    if steps is not None:
        short.workload = replace(sampler.workload, steps=steps)
    state = sampler.pipeline.scheduler.__dict__
    before = dict(state)
    try:
        yield short
    finally:
        state.clear()
        state.update(before)


class _StageClock:
    """Adds up the seconds of each stage, the device idle at every reading."""

    def __init__(self, device: Device) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._device = device
        self._stage: str | None = None
        self._since = 0.0

    def enter(self, stage: str | None) -> None:
        synchronize(self._device)
        now = time.perf_counter()
        if self._stage is not None:
            self.seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now
