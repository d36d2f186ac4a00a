"""Global state before and after: torch's switches, the environment, and functions in place.

A case may switch what it likes for itself. What it leaves behind falls on the next one.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from latentcy.core.verdict import FAILED, PASSED, Verdict
from latentcy.measure.pipeline_state import parts_state
from latentcy.pipelines.devices import global_switches as flags
from latentcy.pipelines.devices.device import tf32_switches

GATE = "leaks"


@dataclass(frozen=True)
class Snapshot:
    """State by name, and the functions that stood in their places; kept as they are.

    It keeps alive what it has seen, a pipeline's own wrappers among them: let it go soon.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Any] = field(default_factory=dict)  # "torch.nn.functional.silu", ...
    owners: Mapping[str, Any] = field(default_factory=dict)  # modules and classes looked through

    @classmethod
    def take(cls, pipeline: Any | None = None) -> Snapshot:
        """What holds now, globally and, with a pipeline, of its parts; nothing is changed.

        The first one loads torch's compiler, whose settings are among the state: seconds.
        """
        functions: dict[str, Any] = {}
        owners = dict(_owners())
        for owner, place in owners.items():
            functions |= _functions(owner, place)
        state = global_state() | (parts_state(pipeline) if pipeline is not None else {})
        return cls(state=state, functions=functions, owners=owners)

    @classmethod
    def of_parts(cls, pipeline: Any) -> Snapshot:
        """What holds of a pipeline's parts alone."""
        return cls(state=parts_state(pipeline))


def differences(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """What differs, one clause each; what only one of them could look at is left out."""
    found = []
    for name in sorted(before.state.keys() | after.state.keys()):
        was, now = (one.state.get(name, _NOTHING) for one in (before, after))
        if not _same(was, now):
            found.append(f"{name} was {_said(was)} and is {_said(now)}")
    both = before.owners.keys() & after.owners.keys()
    for name in sorted(before.functions.keys() | after.functions.keys()):
        owner, _, own = name.rpartition(".")
        was, now = (one.functions.get(name, _NOTHING) for one in (before, after))
        if owner not in both or was is now or _by_compiler(now):
            continue
        if was is not _NOTHING or _hides(after.owners[owner], own):
            found.append(f"{name} {_replaced(was, now)}")
    return tuple(found)


def leak_verdict(before: Snapshot, after: Snapshot) -> Verdict:
    """Is the global state after a case was closed what it was before the case was opened?

    Both are to be taken without a pipeline.
    """
    found = differences(before, after)
    if found:
        return Verdict(GATE, FAILED, f"left behind for the next case: {joined(found)}")
    count = len(before.state) + len(before.functions)
    return Verdict(GATE, PASSED, f"{count} switches and functions are what they were before it")


# Those that change speed or arithmetic. Torch itself sets others while it runs
# (CUDA_MODULE_LOADING, TORCHINDUCTOR_CACHE_DIR).
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_LAUNCH_BLOCKING",
    "CUDNN_",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTORCH_",
    "TORCH_",
)
_NOTHING = type("Nothing", (), {"__repr__": lambda self: "absent"})()


def global_state() -> dict[str, Any]:
    """The switches of torch and of this process, by name."""
    state = dict(flags.all_values())
    state |= {f"tf32 in {name}": on for name, on in tf32_switches().items()}
    for kind in ("cpu", "cuda"):
        state[f"autocast on {kind}"] = torch.is_autocast_enabled(kind)
        state[f"autocast's dtype on {kind}"] = torch.get_autocast_dtype(kind)
    state["autocast's cache"] = torch.is_autocast_cache_enabled()
    state["inference mode"] = torch.is_inference_mode_enabled()
    state["anomaly detection"] = torch.is_anomaly_enabled()
    state["warnings of determinism"] = torch.is_deterministic_algorithms_warn_only_enabled()
    state["fp32 precision of products"] = _read(torch.get_float32_matmul_precision)
    state["default device"] = str(_read(getattr(torch, "get_default_device", lambda: None)))
    state["torch function modes"] = torch._C._len_torch_function_stack()
    state["torch dispatch modes"] = _read(getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0))
    state["profiler"] = torch.autograd.profiler._is_profiler_enabled
    state["interop threads"] = torch.get_num_interop_threads()
    if torch.cuda.is_initialized():
        state["CUDA sync debug mode"] = torch.cuda.get_sync_debug_mode()
    for name in ("forward_pre_hooks", "forward_hooks", "backward_hooks", "backward_pre_hooks"):
        hooks = getattr(torch.nn.modules.module, f"_global_{name}", {})
        state[f"global {name.replace('_', ' ')}"] = len(hooks)
    state["garbage collector"] = gc.isenabled()
    for name, value in os.environ.items():
        if name.startswith(_VARIABLES):
            state[f"environment variable {name}"] = value
    return state


def _owners() -> Iterator[tuple[str, Any]]:
    """Modules and classes whose functions a pipeline runs, of those that are loaded."""
    for name in ("torch", "torch.nn.functional", "torch.cuda", "torch.autograd", "torch.linalg"):
        yield name, sys.modules[name]
    yield "torch.Tensor", torch.Tensor
    yield "torch.cuda.CUDAGraph", torch.cuda.CUDAGraph
    for name, module in sorted(sys.modules.items()):
        if isinstance(module, ModuleType) and name.startswith(_HOMES):
            yield name, module
            for each in tuple(vars(module).values()):
                if inspect.isclass(each) and each.__module__ == name:
                    yield f"{name}.{each.__qualname__}", each


_HOMES = (
    "torch.nn.modules.",
    "diffusers.image_processor",
    "diffusers.configuration_utils",
    "diffusers.loaders.",
    "diffusers.models.",
    "diffusers.pipelines.pipeline_utils",
    "diffusers.pipelines.stable_diffusion.",
    "diffusers.schedulers.",
    "diffusers.utils.torch_utils",
    "transformers.modeling_utils",
    "transformers.models.clip.",
    "latentcy.pipelines.",
    "latentcy.measure.",
)


def _functions(owner: str, place: Any) -> dict[str, Any]:
    """The functions, methods and properties that stand in a module's or class' own names."""
    return {
        f"{owner}.{name}": value
        for name, value in tuple(vars(place).items())
        if isinstance(value, _KINDS) or (inspect.isroutine(value) and callable(value))
    }


_KINDS = (classmethod, staticmethod, property)


def _by_compiler(now: Any) -> bool:
    """Whether torch's compiler put it there: it tags modules from its first compilation on."""
    return (getattr(now, "__module__", None) or "").startswith(("torch._dynamo", "torch._inductor"))


def _hides(owner: Any, name: str) -> bool:
    """Whether a new name of a class hides a base's; any other is new to all, and calls nothing."""
    bases = owner.__mro__[1:] if inspect.isclass(owner) else ()
    return any(name in vars(base) for base in bases)


def _replaced(was: Any, now: Any) -> str:
    if now is _NOTHING:
        return "was removed"
    by = f"{getattr(now, '__module__', None) or '?'}.{getattr(now, '__qualname__', now)}"
    return f"was {'added' if was is _NOTHING else 'replaced'} ({by})"


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return bool(one == other)
    except (RuntimeError, TypeError, ValueError):  # what cannot be compared is another
        return False


def _read(getter: Any) -> Any:
    """A state that torch may refuse to tell, as of tf32 where two ways of setting it were mixed."""
    try:
        return getter()
    except RuntimeError as error:
        return f"not told ({' '.join(str(error).split())[:60]})"


def _said(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, type(_NOTHING))) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def joined(found: Iterable[str], most: int = 3) -> str:
    """The first few clauses, and how many more there are."""
    found = tuple(found)
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more
