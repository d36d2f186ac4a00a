"""What is in memory: one case's pipeline, and the one that it is paired with."""

from __future__ import annotations

import sys
import time

import torch

from latentcy.case import Case
from latentcy.generate.device import Device, free
from latentcy.generate.models import Model
from latentcy.generate.sampler import Sampler, open_sampler


class Loaded:
    """Holds one case's sampler at a time, so that memory holds no more than it must."""

    def __init__(self, model: Model, device: Device) -> None:
        self._model, self._device = model, device
        self._sampler: Sampler | None = None
        self._id: str | None = None
        self.load_seconds = 0.0  # of the case that is held

    def sampler(self, case: Case) -> Sampler:
        """The case's sampler, loaded once; the one before it is closed first.

        Raises LatentcyError where it cannot be loaded.
        """
        if self._sampler is not None and self._id == case.id:
            return self._sampler
        self.close()
        started = time.perf_counter()
        self._sampler, self._id = self.another(case), case.id
        self.load_seconds = time.perf_counter() - started
        return self._sampler

    def another(self, case: Case) -> Sampler:
        """A further sampler of a case, beside the one that is held; the caller closes it."""
        return open_sampler(self._model, case.variant, self._device, case.workload)

    def close(self) -> None:
        """Lets the pipeline go, if there is one."""
        sampler, self._sampler, self._id = self._sampler, None, None
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # else the next case's modules can run this one's compiled code
        if sampler is not None:
            sampler.close()
        else:
            free(self._device)  # what a case that failed to load has left
