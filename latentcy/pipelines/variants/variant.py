"""A variant: one optimisation recipe, what it needs, and the quality it must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from latentcy.core.errors import LatentcyError
from latentcy.core.quality_limits import Quality, Tolerance
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.target import Target
from latentcy.pipelines.variants.requirements import ANYWHERE, DEVICE_KINDS, Needs
from latentcy.pipelines.workload import OWN, SCHEDULERS

DTYPES = ("float32", "float16", "bfloat16")
GROUP_WORKLOADS = {"precision": "single", "distillation": "batch", "stack": "single"}


MOST = 10_000  # steps of a generation, images of a call: beyond any that is meant


@dataclass(frozen=True)
class Variant:
    """One recipe. Raises LatentcyError where a field holds what cannot be meant."""

    name: str  # [a-z0-9-]+
    changes: str  # one sentence: what differs from the fp32 baseline
    group: str = "precision"  # "precision" | "distillation" | "stack"
    dtype: str = "float32"  # of all weights, on an accelerator
    cpu_dtype: str | None = None  # on a CPU, where it differs
    tf32: bool = False  # in matrix products and convolutions
    autocast: str | None = None  # dtype of torch.autocast around the call, on an accelerator
    cpu_autocast: str | None = None  # on a CPU, where it differs
    unet: str = "full"  # "full" | "distilled"
    vae: str = "full"  # "full" | "tiny"
    steps: int | None = None  # of the sampler, where the group's workload has others
    # A name in SCHEDULERS; "own": as the model, `build` or `prepare` has it; None: the workload's.
    scheduler: str | None = None
    reference: str = "baseline"  # in the same group: latency and CLIP are held against it
    ssim_reference: str | None = "baseline"  # None: other weights, no SSIM
    quality: Quality | None = (
        None  # None: its reference's images, where those have its weights and steps
    )
    control: bool = False  # known to be bad: judged and shown, but does not fail the run
    speed_gated: bool = True  # False: timed and shown, and held against nothing
    memory_gated: bool = True  # False: may need more memory than `reference` by any amount
    no_slower_on: tuple[str, ...] = DEVICE_KINDS  # where it must be no slower than `reference`
    needs: Needs = ANYWHERE  # where not met, the case is skipped with the reason
    observed_batch: int | None = None  # most images in one call when it is observed; None: any
    prepare: Callable[[Any], None] | None = None  # may change the loaded pipeline in place
    build: Callable[[Target], Any] | None = None  # returns the pipeline, in place of our loading it

    def __post_init__(self) -> None:
        """Check every field that a variants file could get wrong."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise LatentcyError(
                found=f"a variant named {self.name!r}",
                expected="a name of lower case letters, digits and dashes",
                do="rename it",
            )
        dtypes: tuple[str | None, ...] = (*DTYPES, None)
        self._one_of("group", self.group, tuple(GROUP_WORKLOADS))
        for field in ("tf32", "control", "speed_gated", "memory_gated"):
            if not isinstance(getattr(self, field), bool):
                self._wrong(field, getattr(self, field), "True or False")
        if not isinstance(self.changes, str):
            self._wrong("changes", self.changes, "one sentence: what differs from the baseline")
        if self.ssim_reference is not None and not isinstance(self.ssim_reference, str):
            self._wrong("ssim_reference", self.ssim_reference, "a variant's name, or None")
        if not isinstance(self.no_slower_on, (tuple, list)):
            self._wrong("no_slower_on", self.no_slower_on, "a tuple of kinds of devices")
        for kind in self.no_slower_on:
            self._one_of("no_slower_on", kind, DEVICE_KINDS)
        self._one_of("dtype", self.dtype, DTYPES)
        self._one_of("cpu_dtype", self.cpu_dtype, dtypes)
        self._one_of("autocast", self.autocast, dtypes)
        self._one_of("cpu_autocast", self.cpu_autocast, dtypes)
        if not isinstance(self.reference, str):
            self._wrong("reference", self.reference, "a variant's name; its own for none")
        self._one_of("unet", self.unet, ("full", "distilled"))
        self._one_of("vae", self.vae, ("full", "tiny"))
        self._one_of("scheduler", self.scheduler, (*SCHEDULERS, OWN, None))
        for field in ("steps", "observed_batch"):
            value = getattr(self, field)
            if value is not None and not (type(value) is int and 0 < value <= MOST):
                self._wrong(field, value, f"a whole number from 1 to {MOST}, or None")
        if not isinstance(self.needs, Needs):
            self._wrong("needs", self.needs, "a Needs")
        if self.prepare is not None and not callable(self.prepare):
            self._wrong("prepare", self.prepare, "a function of the pipeline, or None")
        if self.build is not None:
            if not callable(self.build):
                self._wrong("build", self.build, "a function of the target, or None")
            if (self.unet, self.vae) != ("full", "full"):
                self._wrong("build", self.build, "no unet or vae beside it: it builds them itself")
        if self.quality is not None and not isinstance(self.quality, Quality):
            self._wrong("quality", self.quality, "a Quality, or None")
        for part in ("ssim", "clip_drop"):
            limit = getattr(self.quality, part, None)
            if limit is not None and not (
                isinstance(limit, Tolerance) and math.isfinite(limit.value)
            ):
                self._wrong(f"quality.{part}", limit, "a Tolerance with a finite value, or None")

    @property
    def is_distilled(self) -> bool:
        """Whether its denoiser is the model's distilled one."""
        return self.unet == "distilled"

    @property
    def is_tiny(self) -> bool:
        """Whether its decoder is the model's tiny one."""
        return self.vae == "tiny"

    @property
    def id(self) -> str:
        """The variant's stable name among all groups: "group/name"."""
        return f"{self.group}/{self.name}"

    def refusal(self, device: Device) -> str | None:
        """Why the variant cannot run on this device, in one clause; None where it can."""
        if self.tf32:
            if device.kind != "cuda" or device.capability is None:
                return "tf32 needs an NVIDIA GPU of compute capability 8.0 or later"
            if device.capability < (8, 0):
                return (
                    "tf32 needs compute capability 8.0 or later, "
                    f"and {device.name} has {device.capability[0]}.{device.capability[1]}"
                )
        return self.needs.missing(device)

    def resolved_dtype(self, device: Device) -> str:
        """The name of the dtype that the weights have on this device."""
        return self.cpu_dtype or self.dtype if device.kind == "cpu" else self.dtype

    def resolved_autocast(self, device: Device) -> str | None:
        """The name of the autocast dtype on this device; None where there is no autocast."""
        return self.cpu_autocast or self.autocast if device.kind == "cpu" else self.autocast

    def _one_of(self, field: str, value: object, allowed: tuple[str | None, ...]) -> None:
        if value not in allowed:
            self._wrong(field, value, f"one of {', '.join(repr(each) for each in allowed)}")

    def _wrong(self, field: str, value: object, expected: str) -> None:
        raise LatentcyError(
            found=f"{field}={value!r} in variant {self.name!r}", expected=expected, do="correct it"
        )
