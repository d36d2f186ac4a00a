"""What a case is paired with: its reference variant, itself, or its like in another environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from latentcy.core.settings import Settings
from latentcy.pipelines import time_spent as spent
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.compiled import is_compiled
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.models.catalog import Model, lacking
from latentcy.pipelines.sampler import Sampler
from latentcy.remote.environment import (
    OtherEnvironment,
    OtherSampler,
    import_folders,
    version_differences,
)
from latentcy.suite.active_pipeline import ActivePipeline


class TimedGenerator(Protocol):
    """Something that generates and says how long it took."""

    def seconds(self) -> float: ...

    def close(self) -> None: ...


class References(Protocol):
    """A way to choose what each case is paired with.

    `processes` are this run's own other processes, by number; `speedups` says whether a ratio is
    what the table means by a speed-up.
    """

    speedups: bool

    @property
    def processes(self) -> tuple[int, ...]: ...

    def name(self, case: Case) -> str:
        """What stands behind "slower than" in a verdict."""
        ...

    def missing(self, case: Case) -> str | None:
        """Why the case is paired with nothing; None where it is."""
        ...

    def promised(self, case: Case) -> bool:
        """Whether the case has to be no slower than its reference."""
        ...

    def open(self, case: Case, *, beside: Sampler) -> TimedGenerator:
        """Loads the reference beside the case. Raises LatentcyError where it cannot."""
        ...

    def lost(self, error: Exception) -> bool:
        """Whether the error is the end of a process that the case stands or falls with."""
        ...


class VariantReference:
    """Each case against its reference variant, in the same group."""

    processes = ()
    speedups = True

    def __init__(
        self,
        settings: Settings,
        cases: Sequence[Case],
        *,
        model: Model,
        device: Device,
        loaded: ActivePipeline,
    ) -> None:
        self._settings, self._cases, self._loaded = settings, cases, loaded
        self._model, self._device = model, device

    def name(self, case: Case) -> str:
        return case.variant.reference

    def missing(self, case: Case) -> str | None:
        reference = self._of(case)
        if reference.id == case.id:
            return "it is the reference"
        variant = reference.variant
        return variant.refusal(self._device) or lacking(self._model, variant)

    def promised(self, case: Case) -> bool:
        variant = case.variant
        itself = self._of(case).id == case.id
        return variant.speed_gated and self._device.kind in variant.no_slower_on and not itself

    def open(self, case: Case, *, beside: Sampler) -> TimedGenerator:
        reference = self._of(case)
        sampler = self._loaded.another(reference)
        if not (is_compiled(sampler.pipeline) and is_compiled(beside.pipeline)):
            return sampler
        # Two compiled pipelines in one process can share compiled code, and then the one is timed
        # for the other.
        sampler.close()
        return self._apart(reference)

    def lost(self, error: Exception) -> bool:
        return False

    def _apart(self, reference: Case) -> TimedGenerator:
        """The reference in a process of its own, with this same interpreter."""
        place = OtherEnvironment(
            sys.executable,
            device=spec(self._device),
            threads=self._device.threads,
            folders=import_folders(),
        )
        try:
            sampler = open_there(place, self._settings, self._model, self._device, reference)
        except BaseException:
            place.close()
            raise
        return RemoteSampler(sampler, place.close)

    def _of(self, case: Case) -> Case:
        wanted = f"{self._model.name}/{case.variant.group}/{case.variant.reference}"
        return next(other for other in self._cases if other.id == wanted)


class SelfReference:
    """Each case against a second load of itself: what is found is a false alarm."""

    processes = ()
    speedups = False

    def __init__(self, loaded: ActivePipeline) -> None:
        self._loaded = loaded

    def name(self, case: Case) -> str:
        return "itself"

    def missing(self, case: Case) -> str | None:
        return None

    def promised(self, case: Case) -> bool:
        return True

    def open(self, case: Case, *, beside: Sampler) -> Sampler:
        return self._loaded.another(case)

    def lost(self, error: Exception) -> bool:
        return False


class EnvironmentReference:
    """Each case against the same case in another interpreter's environment."""

    speedups = False

    def __init__(
        self,
        settings: Settings,
        *,
        model: Model,
        device: Device,
        environment: dict[str, str],
        say: Callable[[str], None],
    ) -> None:
        assert settings.against is not None
        self._settings, self._model, self._device = settings, model, device
        self._other = OtherEnvironment(
            settings.against, device=spec(self._device), threads=device.threads, say=say
        )
        self._differ = version_differences(environment, self._other.environment)
        self._open: OtherSampler | None = None
        self._open_as: tuple[str, int] | None = None  # the case's id and its number of steps

    @property
    def processes(self) -> tuple[int, ...]:
        return (self._other.pid,) if self._other.pid else ()

    @property
    def environment(self) -> dict[str, str]:
        """The other environment's versions and identities."""
        return self._other.environment

    def name(self, case: Case) -> str:
        differ = "; ".join(self._differ) or "the same versions"
        return f"in the other environment ({differ})"

    def missing(self, case: Case) -> str | None:
        return None

    def promised(self, case: Case) -> bool:
        return case.variant.speed_gated

    def open(self, case: Case, *, beside: Sampler) -> RemoteSampler:
        """The other side's sampler; it stays loaded for `images` until another case is opened."""
        return RemoteSampler(self._sampler(case), lambda: None)

    def lost(self, error: Exception) -> bool:
        return self._other.pid is None

    def images(self, case: Case, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """The case's images there, float32 [n, height, width, 3]."""
        started = time.perf_counter()
        batch = case.variant.observed_batch or self._settings.batch
        images = self._sampler(case).images(prompts, seeds, batch=batch)
        spent.generated(time.perf_counter() - started)
        return images

    def close(self) -> None:
        """Ends the other process."""
        self._open = None
        self._other.close()

    def _sampler(self, case: Case) -> OtherSampler:
        wanted = case.id, case.workload.steps
        if self._open is None or self._open_as != wanted or self._other.pid is None:
            with spent.loading():
                self._open = open_there(
                    self._other, self._settings, self._model, self._device, case
                )
            self._open_as = wanted
        return self._open


class RemoteSampler:
    """A sampler in another process, timed there."""

    def __init__(self, sampler: OtherSampler, close: Callable[[], None]) -> None:
        self._sampler, self.close = sampler, close

    def seconds(self) -> float:
        """The seconds of one generation there."""
        seconds = self._sampler.seconds()
        spent.generated(seconds)
        return seconds


def open_there(
    place: OtherEnvironment, settings: Settings, model: Model, device: Device, case: Case
) -> OtherSampler:
    """Loads a case in another environment, with the model that was chosen here."""
    return place.open(
        model=model.name if settings.model == "auto" else settings.model,
        variants_file=settings.variants_file,
        variant_id=case.variant.id,
        device=spec(device),
        workload=case.workload,
    )


def spec(device: Device) -> str:
    """The device as --device names it."""
    return f"cuda:{device.index}" if device.kind == "cuda" else device.kind
