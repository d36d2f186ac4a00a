"""What a case costs: plain numbers and the arithmetic on them; nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

STAGES = ("text_encoding", "denoising", "decoding")


@dataclass(frozen=True)
class Calls:
    """Seconds of loading, of the first generation after it, and of a warm one.

    Loading is what `open_sampler` takes. The first generation of a process also loads the
    device's libraries, so the figure is the variant's own only where each case has a process.
    `steps` are those of both generations, where the plan of the run gave them fewer than the
    workload has; else None.
    """

    load_seconds: float | None = None
    first_seconds: float | None = None
    warm_seconds: float | None = None
    steps: int | None = None

    @property
    def compile_seconds(self) -> float | None:
        """First minus warm, at least 0: compilation, autotuning, lazy loading."""
        first, warm = self.first_seconds, self.warm_seconds
        return max(first - warm, 0.0) if is_known(first) and is_known(warm) else None


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one generation, two a multiply-add; None where not known.

    Matrix products, convolutions and attention are counted, as torch's counter does; what is
    done once an element (norms, activations, the scheduler) is not.

    Attributes:
        text_encoding: of the workload's prompt and the empty one.
        step: of one call of the UNet at the workload's batch, guidance included.
        decoding: of all images.
        unet_calls: calls of the UNet in one generation.
        notes: one sentence for each figure that was not simply counted.
    """

    text_encoding: int | None
    step: float | None
    decoding: int | None
    unet_calls: int | None
    notes: tuple[str, ...] = ()

    @property
    def denoising(self) -> float | None:
        """Of all calls of the UNet."""
        if self.step is None or self.unet_calls is None:
            return None
        return self.step * self.unet_calls

    @property
    def total(self) -> float | None:
        """Of one generation; None where a stage is not known."""
        stages = [getattr(self, stage) for stage in STAGES]
        return None if None in stages else sum(stages)


@dataclass(frozen=True)
class PeakFlops:
    """The fastest that the device was seen to be, in a large matrix product in this run.

    `flops_per_second` is None where the device has no room for the product, or cannot do it.
    """

    dtype: str  # "float32" | "float16" | "bfloat16"
    tf32: bool
    flops_per_second: float | None
    size: int | None = None  # rows and columns of the square matrices


@dataclass(frozen=True)
class Memory:
    """Memory of one generation, in bytes; None where it does not apply or cannot be read.

    `peak_bytes` is what `latentcy.pipelines.devices.device.peak_memory` measures: what torch's
    allocator had handed out on CUDA, the process' resident set on a CPU. Reserved is what that
    allocator holds of the device, handed out or not; the resident set is the process' own, in main
    memory. Tensors are counted by `latentcy.measure.tensor_memory`, weights included, alike on
    every device.
    """

    peak_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    after_allocated_bytes: int | None = None
    after_reserved_bytes: int | None = None
    after_resident_bytes: int | None = None
    peak_tensor_bytes: int | None = None


@dataclass(frozen=True)
class Component:
    """One part of a pipeline. A tensor that parts share is counted in the first alone."""

    name: str  # the component's; of the decoder's autoencoder with its half, as "vae decoder"
    parameters: int
    bytes: int  # of parameters and buffers, as they are stored
    dtypes: tuple[str, ...]  # of the parameters, the one with most bytes first


@dataclass(frozen=True)
class Costs:
    """What one case costs. `stages` are seconds of STAGES in one warm generation."""

    calls: Calls = Calls()
    stages: Mapping[str, float] = field(default_factory=dict)
    flops: Flops | None = None
    peak: PeakFlops | None = None
    memory: Memory | None = None
    components: tuple[Component, ...] = ()

    @property
    def step_seconds(self) -> float | None:
        """Of one denoising step: a call of the UNet, the guidance and the scheduler's step."""
        seconds = self.stages.get("denoising")
        calls = self.flops.unet_calls if self.flops is not None else None
        return seconds / calls if calls and seconds is not None else None

    def share(self, stage: str) -> float | None:
        """The share of the measured peak that a stage reaches, 0 to 1; None where not known."""
        flops = getattr(self.flops, stage, None)
        return share(flops, self.stages.get(stage), self.peak)

    @property
    def total_share(self) -> float | None:
        """The share of the measured peak over all three stages together."""
        if self.flops is None or any(stage not in self.stages for stage in STAGES):
            return None
        seconds = sum(self.stages[stage] for stage in STAGES)
        return share(self.flops.total, seconds, self.peak)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Costs:
        """Read the JSON form of the fields, as records write it ("nan" for NaN).

        Raises KeyError, TypeError or ValueError where something is missing or of a wrong kind.
        """
        flops, peak, memory = (data[name] for name in ("flops", "peak", "memory"))
        return cls(
            calls=_read(Calls, _SINCE_SCHEMA_5 | data["calls"]),
            stages={name: float(value) for name, value in data["stages"].items()},
            flops=_read(Flops, flops) if flops is not None else None,
            peak=_read(PeakFlops, peak) if peak is not None else None,
            memory=_read(Memory, _SINCE_SCHEMA_4 | memory) if memory is not None else None,
            components=tuple(_read(Component, one) for one in data["components"]),
        )


def share(flops: float | None, seconds: float | None, peak: PeakFlops | None) -> float | None:
    """`flops` in `seconds` over the peak; None where a figure is missing or no such number.

    More than the peak is none either: what was done faster was not done in its arithmetic.
    """
    most = peak.flops_per_second if peak is not None else None
    if not (is_known(flops) and is_known(seconds) and is_known(most)):
        return None
    if not (seconds > 0 and most > 0):
        return None
    reached = flops / seconds / most
    return reached if reached <= 1 else None


def is_known(value: float | None) -> TypeGuard[float]:
    """Whether there is a value, and it is finite."""
    return value is not None and math.isfinite(value)


_TEXTS = ("name", "dtype")
_SINCE_SCHEMA_5 = {"steps": None}
_SINCE_SCHEMA_4 = {"peak_tensor_bytes": None}


def _read(kind: type, data: Mapping[str, Any]) -> Any:
    return kind(**{one.name: _value(one.name, data[one.name]) for one in fields(kind)})


def _value(name: str, value: Any) -> Any:
    """Lists become tuples of texts; a number that JSON cannot hold stands there as text."""
    if isinstance(value, list):
        return tuple(str(each) for each in value)
    return float(value) if isinstance(value, str) and name not in _TEXTS else value
