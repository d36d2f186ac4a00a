"""Cases for the invariants' tests: the miniature with any fault that `prepare` makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from latentcy.core.verdict import Verdict
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import MINIATURE
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN, STACK
from latentcy.pipelines.variants.variant import GROUP_WORKLOADS, Variant
from latentcy.pipelines.workload import workload

CPU = find_device("cpu")
STEPS = 4
HEALTHY = [
    each
    for each in (*BUILTIN, *STACK)
    if each.refusal(CPU) is None
    and not each.needs.compiler
    and each.resolved_dtype(CPU) != "float16"  # which this CPU computes ten times as slowly
]


def opened(prepare: Callable[[Any], None] | None = None, **settings: Any) -> Sampler:
    """A case of the miniature with few steps; `settings` are the variant's."""
    return opened_variant(Variant("mine", "c", prepare=prepare, **settings))


def opened_variant(variant: Variant, steps: int = STEPS) -> Sampler:
    """The variant's case of the miniature, its own number of steps or `steps`."""
    work = workload(
        GROUP_WORKLOADS[variant.group],
        height=64,
        width=64,
        guidance_scale=MINIATURE.guidance_scale,
        steps=variant.steps,
        scheduler=variant.scheduler,
    )
    work = work if variant.steps else replace(work, steps=steps)
    return open_sampler(MINIATURE, variant, CPU, replace(work, seeds=work.seeds[:2]))


def assert_failed(verdict: Verdict, said: str) -> None:
    """It failed, for the reason that the pattern `said` matches."""
    assert verdict.status == "failed", verdict.reason
    assert_said(verdict, said)


def assert_said(verdict: Verdict, said: str) -> None:
    """The reason holds the pattern."""
    assert re.search(said, verdict.reason), verdict.reason
