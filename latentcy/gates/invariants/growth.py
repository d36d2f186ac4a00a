"""Memory, hooks and operators over repeated calls, and latency that climbs with every call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from latentcy.core.pairs import Pairs
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.measure.flops import uncompiled
from latentcy.measure.heap import Heap, silence
from latentcy.pipelines.devices.device import synchronize
from latentcy.pipelines.families import family_of
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps

GATE = "growth"
CALLS = 8
WARM = 2  # calls that may still make caches
STEPS = 2  # denoising steps of a call

CLIMB = 0.002  # of a call's seconds that each further call may take longer
CONFIDENCE = 0.999  # two-sided, of the slope's interval
LEAST_PAIRS = 10
WIDEST = 0.05  # a call: an interval that reaches further says nothing


@dataclass(frozen=True)
class Growth:
    """What was there after each of CALLS short generations, and what a generation then ran."""

    tensor_bytes: tuple[int, ...]  # of the live tensors made since the start, storages counted once
    device_bytes: tuple[int, ...]  # handed out by CUDA's allocator; empty elsewhere
    objects: tuple[int, ...]  # Python's, that were made since the start
    items: tuple[int, ...]  # in the lists, dicts and sets that were there at the start
    hooks: tuple[int, ...]  # on the modules of the pipeline
    resident_bytes: tuple[int, ...]  # of the process; noisy, for information
    operators: tuple[int, int]  # of a generation before the calls, and after them
    keeper: str = ""  # what keeps most of it, where that can be found out


def grow(sampler: Sampler) -> Growth:
    """Generate CALLS times two steps, and look at what is left after each.

    The words of the prompt are turned around from call to call, so that what is kept for each
    prompt is seen. What is compiled runs as it is; for the operators alone it runs plainly.
    """
    with with_few_steps(sampler, STEPS) as short:
        short.generate()
    first = _operators(sampler)
    rows: list[tuple[int, ...]] = [()] * CALLS  # whole at once, so that it does not grow itself
    with with_few_steps(sampler, STEPS) as short, silence(), Heap() as heap:
        for call in range(CALLS):
            prompts = [_turned(sampler.workload.prompt, call)] * len(sampler.workload.seeds)
            short.generate(prompts, sampler.workload.seeds)
            synchronize(sampler.device)
            held = heap.look(keep=call == WARM)
            rows[call] = (*held, _hooks(sampler.pipeline), _allocated(sampler))
        keeper = heap.keeper()
    tensors, objects, items, resident, hooks, device = zip(*rows, strict=True)
    return Growth(
        tensor_bytes=tensors,
        device_bytes=device if sampler.device.kind == "cuda" else (),
        objects=objects,
        items=items,
        hooks=hooks,
        resident_bytes=resident,
        operators=(first, _operators(sampler)),
        keeper=keeper,
    )


def growth_verdict(sampler: Sampler) -> Verdict:
    """Does nothing pile up from call to call?"""
    return judge_growth(grow(sampler))


def judge_growth(growth: Growth) -> Verdict:
    """Flat after the first WARM calls: tensors, CUDA's memory, objects, hooks, operators.

    A figure grows where it never falls again and rises in at least half of the calls. Resident
    memory is told and not judged.
    """
    wrong = []
    for name, series, unit in (
        ("live tensors", growth.tensor_bytes, "bytes"),
        ("CUDA's allocated memory", growth.device_bytes, "bytes"),
        ("the modules' hooks", growth.hooks, "hooks"),
        ("what lists and dicts keep", growth.items, "items"),
        ("Python's memory", growth.objects, "objects"),
    ):
        each = _growth_of_a_call(series[WARM:])
        if not each <= 0:
            ends = f"from {series[WARM]} to {series[-1]}"
            wrong.append(f"{name} grew by {each:.3g} {unit} a call, {ends}")
    first, last = growth.operators
    if not last <= first:
        wrong.append(f"a generation ran {last} operators after {CALLS} calls, and {first} before")
    if wrong:
        keeper = f"; kept by {growth.keeper}" if growth.keeper else ""
        return Verdict(GATE, FAILED, "; ".join(wrong) + keeper)
    resident = growth.resident_bytes[-1] - growth.resident_bytes[WARM]
    return Verdict(
        GATE,
        PASSED,
        f"over {CALLS} calls nothing piled up: {growth.tensor_bytes[-1]} bytes of new tensors, "
        f"{growth.hooks[-1]} hooks and {last} operators after the last; resident memory "
        f"{resident / 2**20:+.1f} MiB, not judged",
    )


def climbing_verdict(pairs: Pairs) -> Verdict:
    """Does the candidate's latency climb from call to call, against the reference's?

    The slope of log(candidate / reference) over the pairs' numbers, by Theil and Sen (the median of
    all pairs' slopes; its interval as in Sen 1968, by scipy), so that common drift falls out and
    single slow rounds weigh little. failed where the whole interval of CONFIDENCE lies above CLIMB
    a call; inconclusive for fewer than LEAST_PAIRS pairs or an interval beyond WIDEST.
    """
    gate = "climbing"
    ratios = _log_ratios(pairs)
    if len(ratios) < LEAST_PAIRS:
        why = f"{len(ratios)} pairs, and a slope needs {LEAST_PAIRS}"
        return Verdict(gate, INCONCLUSIVE, why)
    if not np.isfinite(ratios).all():
        return Verdict(gate, FAILED, "a round's seconds are not above 0, which is no latency")
    slope, _, low, high = stats.theilslopes(ratios, np.arange(len(ratios)), CONFIDENCE)
    told = (
        f"latency changes by {math.expm1(slope):+.2%} of itself with each of {len(ratios)} calls "
        f"({math.expm1(low):+.2%} to {math.expm1(high):+.2%} with confidence {CONFIDENCE:.1%})"
    )
    if low > CLIMB:
        return Verdict(gate, FAILED, f"{told}, and at most {CLIMB:.1%} is allowed")
    if not high <= WIDEST:
        return Verdict(gate, INCONCLUSIVE, f"{told}, which is too wide to tell: time more pairs")
    return Verdict(gate, PASSED, f"{told}, so a climb of more than {CLIMB:.1%} is not shown")


def _log_ratios(pairs: Pairs) -> np.ndarray:
    reference, candidate = (np.asarray(side, dtype=np.float64) for side in pairs.sides)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(candidate) - np.log(reference)


def _growth_of_a_call(series: Sequence[int]) -> float:
    """By how much a figure grows a call; 0 where it falls somewhere, or rises seldom."""
    steps = np.diff(series)
    if not steps.size or (steps < 0).any() or (steps > 0).sum() * 2 < steps.size:
        return 0.0
    return float(steps.mean())


def _allocated(sampler: Sampler) -> int:
    """Bytes that CUDA's allocator has handed out; 0 elsewhere."""
    on_cuda = sampler.device.kind == "cuda"
    return torch.cuda.memory_allocated(sampler.device.index) if on_cuda else 0


def _hooks(pipeline: Any) -> int:
    return sum(
        len(getattr(module, name))
        for part in family_of(pipeline).weighted
        for module in getattr(pipeline, part).modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    )


def _operators(sampler: Sampler) -> int:
    """Calls that reach torch's dispatcher in one generation of two steps, run plainly."""
    counting = _Counting()
    with with_few_steps(sampler, STEPS) as short, uncompiled(set()), counting:
        short.generate()
    return counting.calls


class _Counting(TorchDispatchMode):  # type: ignore[misc]
    calls = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: tuple[Any, ...] = (), settings: Any = None
    ) -> Any:
        self.calls += 1
        return operator(*arguments, **(settings or {}))


def _turned(prompt: str, by: int) -> str:
    """The prompt with its words turned around: another text of the same words."""
    words = f"{prompt}, a picture".split()
    by %= len(words)
    return " ".join(words[by:] + words[:by])
