"""One short call of each case, from which a run is planned."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence

from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device, emulates
from latentcy.pipelines.sampler import Sampler, untimed
from latentcy.pipelines.stages import with_few_steps
from latentcy.suite.active_pipeline import ActivePipeline
from latentcy.suite.run_plan import CaseCost

FEW, MORE = 2, 4  # steps of the two calls whose difference is that of a step
DTYPES = {"float16": "fp16", "bfloat16": "bf16"}


class Probe:
    """Times a short call of each case.

    Args:
        device: where it runs.
        loaded: loads the cases, so that what one leaves behind is seen as ever.
        calls: of each case's workload that are timed where nothing is paired, by the case's id.
        references: what each is paired with, by id; "" where it promises no speed.
    """

    def __init__(
        self,
        device: Device,
        loaded: ActivePipeline,
        *,
        calls: Mapping[str, int],
        references: Mapping[str, str],
    ) -> None:
        self._device, self._loaded = device, loaded
        self._calls, self._references = calls, references

    def costs(
        self, cases: Sequence[Case], due: Mapping[str, Collection[str]]
    ) -> tuple[CaseCost, ...]:
        """What each case takes; one that cannot be loaded or called is left out.

        Why it cannot is said by its own gates. `due` are their names by the case's id.
        """
        found = []
        for case in cases:
            try:
                found.append(self._cost(case, frozenset(due[case.id])))
            except Exception:  # whatever it is, each gate of the case will meet it and say it
                continue
        self._loaded.close()
        return tuple(found)

    def _cost(self, case: Case, gates: frozenset[str]) -> CaseCost:
        sampler = self._loaded.sampler(case)
        with untimed(sampler):
            _seconds(sampler, FEW)  # the first call of all is slower
            few, more = _seconds(sampler, FEW), _seconds(sampler, MORE)
        images = len(case.workload.seeds)
        still = math.isnan(few) or math.isnan(more)  # max() would make a number of it
        step = math.nan if still else max(0.0, more - few) / (MORE - FEW) / images
        emulated = self._emulated(case)
        cores = self._device.cores or 1
        return CaseCost(
            case=case.id,
            image_seconds=math.nan if still else max(0.0, few / images - FEW * step),
            step_seconds=step,
            seeds=images,
            steps=case.workload.steps,
            calls=self._calls[case.id],
            gates=gates,
            slower_timed=max(1.0, cores / (self._device.threads or cores)) if emulated else 1.0,
            reference=self._references[case.id],
            why=f"this CPU has no {emulated} arithmetic" if emulated else "",
        )

    def _emulated(self, case: Case) -> str:
        """The dtype that the CPU emulates, as users call it; "" where there is none."""
        variant, device = case.variant, self._device
        stated = (variant.resolved_autocast(device), variant.resolved_dtype(device))
        return next((DTYPES[one] for one in stated if one and emulates(device, one)), "")


def _seconds(sampler: Sampler, steps: int) -> float:
    """Of one call of the workload in so many steps; nan where the clock stands still."""
    with with_few_steps(sampler, min(steps, sampler.workload.steps)) as short:
        started = time.perf_counter()
        short.generate()
        seconds = time.perf_counter() - started
    return seconds if seconds > 0 else math.nan
