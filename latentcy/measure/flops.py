"""Floating-point operations of a generation, by stage, by torch's own counter."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from latentcy.core.costs import STAGES, Flops
from latentcy.measure.architecture_flops import architecture_flops, unet_calls
from latentcy.measure.flop_formulas import Leaves, counter
from latentcy.pipelines.devices.device import is_out_of_memory
from latentcy.pipelines.interception import wrapped
from latentcy.pipelines.optimizations.cuda_graphs import Replayed
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import at_stages, with_few_steps


def count_flops(sampler: Sampler, *, steps: int | None = None) -> Flops:
    """Count what the sampler's pipeline does for its workload.

    A generation of `steps` denoising steps is run through the pipeline as it stands, hooks,
    offloading and autocast included, and the UNet's operations are averaged over its calls.
    None runs two steps and, where the second call of the UNet does other work than the first,
    as with a cache, all of the workload's. The pipeline is left as it was. What is compiled or
    captured runs plainly for this, so it needs an eager generation's memory: not to be called
    inside a measurement of memory.

    What torch's counter cannot see (a foreign graph, another library's kernels) is taken from
    the architecture, and a note says so. Raises what an exhausted memory raises.
    """
    workload = sampler.workload
    notes: list[str] = []
    try:
        counted = _run(sampler, steps or 2)
        if steps is None and not counted.alike():
            counted = _run(sampler, workload.steps)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        counted = _Counted()
        notes.append(f"counting raised {type(error).__name__}: {' '.join(str(error).split())}")
    figures: dict[str, Any] = {
        "text_encoding": counted.flops["text_encoding"] or None,
        "step": counted.flops["denoising"] / max(len(counted.calls), 1) or None,
        "decoding": counted.flops["decoding"] or None,
    }
    unsure = [stage for stage in STAGES if not counted.flops[stage] or counted.unseen[stage]]
    drawn = architecture_flops(sampler.pipeline, workload) if unsure else None
    for stage in unsure:
        name = "step" if stage == "denoising" else stage
        known = getattr(drawn, name)
        figures[name] = max(figures[name] or 0, known or 0) or None
        notes.append(_note(stage, counted.unseen[stage], known))
    calls = unet_calls(sampler.pipeline.scheduler, workload.steps)
    return Flops(**figures, unet_calls=calls, notes=tuple(notes))


@dataclass
class _Counted:
    """Operations by stage and by call of the UNet, and what has no formula in each stage."""

    flops: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    unseen: dict[str, set[str]] = field(default_factory=lambda: {each: set() for each in STAGES})
    calls: list[int] = field(default_factory=list)

    def alike(self) -> bool:
        """Whether the first two calls of the UNet did the same; the text may be projected once."""
        first, second = [*self.calls, 0, 0][:2]
        return len(self.calls) < 2 or abs(first - second) <= _ALIKE * first


_ALIKE = 0.05


def _run(sampler: Sampler, steps: int) -> _Counted:
    """One generation under torch's counter, which is read where a stage or a step ends."""
    into = _Counted()
    counting = counter()
    leaves = Leaves(counting)
    stage: str | None = None
    entered = stepped = 0

    def enter(following: str | None) -> None:
        nonlocal stage, entered, stepped
        total = counting.get_total_flops()
        if stage is not None:
            into.flops[stage] += total - entered
            into.unseen[stage] |= leaves.unseen
        leaves.unseen.clear()
        stage, entered, stepped = following, total, total

    def step(original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        nonlocal stepped
        total = counting.get_total_flops()
        into.calls.append(total - stepped)
        stepped = total
        return original(*arguments, **settings)

    with (
        with_few_steps(sampler, steps) as short,
        uncompiled(leaves.unseen),
        leaves,
        counting,
        wrapped(sampler.pipeline.scheduler, "step", step),
        at_stages(sampler.pipeline, enter),
    ):
        short.generate()
    return into


@contextlib.contextmanager
def uncompiled(unseen: set[str]) -> Iterator[None]:
    """Run what is compiled or captured as it was before; note the replays of other graphs.

    The counter sees neither compiled code nor a replay. A stance leaves the compiler's cache
    as it is, and a call that goes past a graph leaves the graph.
    """

    def past_the_graph(self: Replayed, *arguments: Any, **settings: Any) -> Any:
        return self._call(*arguments, **settings)

    def replay(graph: Any) -> None:
        unseen.add("a captured graph")
        return replay_itself(graph)

    replay_itself = torch.cuda.CUDAGraph.replay
    captured = Replayed.__call__
    stance = contextlib.nullcontext()
    # Nothing is compiled where the compiler has not been loaded, which takes seconds itself.
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):  # torch 2.6
        stance = torch.compiler.set_stance("force_eager")
    with stance, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that hooks fire twice around compiled modules
        Replayed.__call__ = past_the_graph  # type: ignore[method-assign]
        torch.cuda.CUDAGraph.replay = replay
        try:
            yield
        finally:
            Replayed.__call__ = captured  # type: ignore[method-assign]
            torch.cuda.CUDAGraph.replay = replay_itself


def _note(stage: str, unseen: set[str], known: float | None) -> str:
    seen = ", ".join(sorted(unseen))
    why = f"the counter cannot see {seen}" if seen else "the counter saw no operation"
    if known is None:
        return f"{stage}: {why}, and the architecture cannot be counted"
    return f"{stage}: {why}; the architecture's operations where they are more"
