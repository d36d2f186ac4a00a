"""What is in memory: one case's pipeline, and the one that it is paired with."""

from __future__ import annotations

import sys
import time

import torch

from latentcy.core.errors import LatentcyError, NotLoadedError, UnsuitableError
from latentcy.core.verdict import FAILED, INCONCLUSIVE, Verdict
from latentcy.gates.invariants.leaks import Snapshot, leak_verdict
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device, free
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.sampler import Sampler, open_sampler


class ActivePipeline:
    """Holds one case's sampler at a time, so that memory holds no more than it must."""

    def __init__(self, model: Model, device: Device) -> None:
        self._model, self._device = model, device
        self._sampler: Sampler | None = None
        self._id: str | None = None
        self.load_seconds = 0.0  # of the case that is held
        self._before: Snapshot | None = None  # of what is global, before the case was loaded
        self._left: dict[str, Verdict] = {}
        self.as_loaded: Snapshot | None = None  # the parts of the case that is held

    def sampler(self, case: Case) -> Sampler:
        """The case's sampler, loaded once; the one before it is closed first.

        Raises NotLoadedError where it cannot be loaded.
        """
        if self._sampler is not None and self._id == case.id:
            return self._sampler
        self.close()
        self._before = Snapshot.take()
        started = time.perf_counter()
        self._sampler, self._id = self.another(case), case.id
        self.load_seconds = time.perf_counter() - started
        self.as_loaded = Snapshot.of_parts(self._sampler.pipeline)
        return self._sampler

    def another(self, case: Case) -> Sampler:
        """A further sampler of a case, beside the one that is held; the caller closes it.

        Raises NotLoadedError where it cannot be loaded, and UnsuitableError where one of our own
        optimizations does not suit the pipeline.
        """
        try:
            return open_sampler(self._model, case.variant, self._device, case.workload)
        except UnsuitableError:
            raise
        except LatentcyError as error:
            raise NotLoadedError(found=error.found, expected=error.expected, do=error.do) from error

    def left_behind(self, case: Case) -> Verdict:
        """Whether the case left global state behind, each time that it was loaded; closes it."""
        if self._id == case.id:
            self.close()
        return self._left.get(case.id) or Verdict("leaks", INCONCLUSIVE, "it was never loaded")

    def close(self) -> None:
        """Lets the pipeline go, if there is one."""
        sampler, before, name = self._sampler, self._before, self._id
        self._sampler = self._before = self._id = self.as_loaded = None
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # else the next case's modules can run this one's compiled code
        if sampler is not None:
            sampler.close()
        else:
            free(self._device)  # what a case that failed to load has left
        if before is not None and name is not None:
            verdict = leak_verdict(before, Snapshot.take())
            if name not in self._left or verdict.status == FAILED:
                self._left[name] = verdict
