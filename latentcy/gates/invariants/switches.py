"""Switches as stated: before, during and after a generation."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from latentcy.core.verdict import FAILED, PASSED, Verdict
from latentcy.gates.invariants.leaks import Snapshot, differences, joined, leak_verdict
from latentcy.measure.flops import uncompiled
from latentcy.measure.pipeline_state import lora_layers, offloaded
from latentcy.pipelines.devices.device import tf32_switches
from latentcy.pipelines.families import denoiser_of, family_of
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps

__all__ = ["Inside", "Snapshot", "differences", "inside", "leak_verdict", "switches_verdict"]

GATE = "switches"
STEPS = 2  # of the generations that are watched


def switches_verdict(sampler: Sampler, loaded: Snapshot | None = None) -> Verdict:
    """Are all switches as the variant states them, and the same after a generation as before?

    Before: all modules are in eval mode, no variable is set that makes every call wait or every
    allocation new, and nothing is offloaded and no adapter left unfused unless the variant needs
    the package that does it (`Needs(packages=("accelerate",))`, "peft"). During: tf32, autocast and
    gradients as the variant and the pipeline state, determinism as outside, and attention by a
    kernel that is switched on. After: every switch, function, hook, wrapper, processor and weight
    is what it was. Three generations of two steps; the first lets caches be made.

    `loaded` is `Snapshot.of_parts` of the pipeline as it was loaded: what the first call of all has
    changed of it is seen by that alone.
    """
    with with_few_steps(sampler, STEPS) as short:
        short.generate()
        before = Snapshot.take(sampler.pipeline)
        wrong = [*_environment_faults(), *_parts_faults(sampler)]
        short.generate()
        changed = differences(before, Snapshot.take(sampler.pipeline))
    seen = inside(sampler)
    wrong += _inside_faults(sampler, seen)
    wrong += [f"{one} after a generation" for one in changed]
    if loaded is not None and not changed:
        since = differences(loaded, Snapshot.of_parts(sampler.pipeline))
        wrong += [f"{one} since it was loaded" for one in since]
    if wrong:
        return Verdict(GATE, FAILED, joined(wrong))
    kernels = ", ".join(f"{name} ({count})" for name, count in seen.kernels.most_common())
    return Verdict(
        GATE,
        PASSED,
        f"{len(before.state)} switches and {len(before.functions)} functions are as stated and "
        f"unchanged by a generation; attention ran by {kernels or 'products and softmax'}",
    )


@dataclass
class Inside:
    """What holds while the UNet runs, and the attention kernels that ran in one generation."""

    tf32: dict[str, bool] = field(default_factory=dict)
    autocast: torch.dtype | None = None
    gradients: bool = False
    deterministic: int = 0  # torch's debug mode
    cudnn: dict[str, bool] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()  # "flash", "efficient", "cudnn", "math"
    kernels: Counter[str] = field(default_factory=Counter)
    processors: frozenset[str] = frozenset()  # back ends that attention processors name


def inside(sampler: Sampler) -> Inside:
    """One generation of two steps, looked at from the UNet's first convolution.

    What is compiled runs plainly, since compiled code hides its kernels.
    """
    seen, denoiser = Inside(), denoiser_of(sampler.pipeline)

    def look(*_: Any) -> None:
        kind = sampler.device.kind
        on = torch.is_autocast_enabled(kind)
        seen.tf32 = tf32_switches()
        seen.autocast = torch.get_autocast_dtype(kind) if on else None
        seen.gradients = torch.is_grad_enabled()
        seen.deterministic = torch.get_deterministic_debug_mode()
        seen.cudnn = _cudnn()
        seen.allowed = _allowed_kernels()

    seen.processors = frozenset(_named_backends(denoiser))
    modules = [each for each in (getattr(denoiser, "conv_in", None), denoiser) if each is not None]
    with contextlib.ExitStack() as stack:
        short = stack.enter_context(with_few_steps(sampler, STEPS))
        stack.enter_context(uncompiled(set()))
        stack.callback(modules[0].register_forward_pre_hook(look).remove)
        stack.enter_context(_Kernels(seen.kernels))
        short.generate()
    return seen


class _Kernels(TorchDispatchMode):  # type: ignore[misc]
    """Counts calls of torch's attention kernels."""

    def __init__(self, into: Counter[str]) -> None:
        super().__init__()
        self._into = into

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: tuple[Any, ...] = (), settings: Any = None
    ) -> Any:
        name = str(getattr(operator, "overloadpacket", operator)).removeprefix("aten.")
        if "scaled_dot_product" in name or "attention_forward" in name:
            self._into[name.strip("_")] += 1
        return operator(*arguments, **(settings or {}))


# Modules that compute something else in training; of the others only the parts themselves matter,
# since recipes add layers that nobody has put in eval mode (diffusers' fused projections).
_TRAINING_MATTERS = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)


def _environment_faults() -> Iterator[str]:
    for name, why in _SLOW.items():
        if os.environ.get(name, "0") not in ("", "0"):
            yield f"{name} is set to {os.environ[name]!r}, {why}: unset it"


_SLOW = {
    "CUDA_LAUNCH_BLOCKING": "which makes the host wait for every kernel",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "which asks the driver for every tensor",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "which turns tf32 on whatever a variant states",
    "NVIDIA_TF32_OVERRIDE": "which turns tf32 on or off whatever a variant states",
}


def _parts_faults(sampler: Sampler) -> Iterator[str]:
    """What is wrong with the modules before anything runs."""
    pipeline = sampler.pipeline
    parts = {part: getattr(pipeline, part) for part in family_of(pipeline).weighted}
    training = [
        f"{part}.{name}".rstrip(".")
        for part, module in parts.items()
        for name, inner in module.named_modules()
        if inner.training and (not name or isinstance(inner, _TRAINING_MATTERS))
    ]
    if training:
        yield f"{training[0]} is in training mode, with {len(training) - 1} more: call eval()"
    moved = offloaded(pipeline)
    if moved and not _needs(sampler, "accelerate"):
        yield (
            f"{moved[0]} is offloaded by accelerate, with {len(moved) - 1} more modules, and the "
            'variant does not state it: needs=Needs(packages=("accelerate",))'
        )
    adapters = [f"{part}.{name}" for part, module in parts.items() for name in lora_layers(module)]
    if adapters and not _needs(sampler, "peft"):
        yield (
            f"{adapters[0]} has an adapter that is not fused, with {len(adapters) - 1} more, and "
            'the variant does not state it: needs=Needs(packages=("peft",))'
        )
    elsewhere = [
        (f"{part}.{name}", one.device)
        for part, module in parts.items()
        for name, one in module.named_parameters()
        if one.device.type != sampler.device.kind
    ]
    if elsewhere and not moved:
        name, device = elsewhere[0]
        more = f"with {len(elsewhere) - 1} more parameters"
        yield f"{name} is on {device}, {more}, and the case runs on {sampler.device.torch}"


def _inside_faults(sampler: Sampler, seen: Inside) -> Iterator[str]:
    """What held during the call, against what the variant states and what holds outside."""
    stated = sampler.variant.tf32
    if sampler.device.kind == "cuda" or any(seen.tf32.values()):
        for name, on in seen.tf32.items():
            if on != stated:
                found = f"tf32 in {name} is {_on(on)} during the call"
                yield f"{found}, and the variant states {_on(stated)}"
    dtype = sampler.variant.resolved_autocast(sampler.device)
    autocast = getattr(torch, dtype) if dtype else None
    if seen.autocast != autocast:
        yield f"autocast during the call is {seen.autocast}, and the variant states {autocast}"
    if seen.gradients:
        yield "gradients are recorded during the call: run it under torch.no_grad()"
    outside = torch.get_deterministic_debug_mode()
    if seen.deterministic and not outside:
        mode = f"mode {seen.deterministic}"
        yield f"the case turns deterministic algorithms on ({mode}), which cost time"
    for name, on in _cudnn().items():
        if seen.cudnn.get(name, on) != on:
            yield f"the case turns torch.backends.cudnn.{name} {_on(seen.cudnn[name])}"
    yield from _kernel_faults(seen)


def _kernel_faults(seen: Inside) -> Iterator[str]:
    """Attention by another kernel than what is asked for: torch and diffusers may fall back."""
    ran = {_kernel(name) for name in seen.kernels}
    allowed = ", ".join(sorted(seen.allowed)) or "none"
    for each in sorted(ran - seen.allowed - {"other"}):
        yield f"attention ran by the {each} kernel, and only these are switched on: {allowed}"
    for backend in sorted(seen.processors):
        wanted = next((name for name in _MARKS if name in backend), None)
        if wanted is not None and ran and wanted not in ran:
            yield f"attention ran by {', '.join(sorted(ran))}, and its processors ask for {backend}"


# Torch's kernels by what their names hold; flash_attention_for_cpu obeys no switch but math's.
_MARKS = ("cudnn", "efficient", "flash", "math")


def _kernel(operator: str) -> str:
    if operator.endswith("for_cpu"):
        return "other"
    return next((name for name in _MARKS if name in operator), "other")


def _allowed_kernels() -> frozenset[str]:
    cuda = torch.backends.cuda
    on = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "cudnn": getattr(cuda, "cudnn_sdp_enabled", lambda: False)(),
    }
    return frozenset(name for name, one in on.items() if one)


def _named_backends(denoiser: nn.Module) -> Iterator[str]:
    """The back ends that diffusers' attention processors were told to use, "native" apart."""
    for module in denoiser.modules():
        backend = getattr(getattr(module, "processor", None), "_attention_backend", None)
        if backend is not None:
            yield str(getattr(backend, "value", backend)).lower()


def _cudnn() -> dict[str, bool]:
    """cuDNN's switches that cost time where they are not as torch has them."""
    cudnn = torch.backends.cudnn
    return {"enabled": cudnn.enabled, "deterministic": cudnn.deterministic}


def _needs(sampler: Sampler, package: str) -> bool:
    return any(one.startswith(package) for one in sampler.variant.needs.packages)


def _on(on: bool) -> str:
    return "on" if on else "off"
