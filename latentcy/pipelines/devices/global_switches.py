"""Torch's global switches: what a variant's `prepare` sets holds for that variant alone."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

Changes = dict[str, Any]

_COMPILER_CONFIGS = ("torch._inductor.config", "torch._dynamo.config")


@contextlib.contextmanager
def recorded() -> Iterator[Changes]:
    """Restore every switch on exit; the dict then holds what the block had changed, by name."""
    before = all_values()
    changes: Changes = {}
    try:
        yield changes
    finally:
        after = all_values()
        changes.update({name: value for name, value in after.items() if before[name] != value})
        _set({name: before[name] for name in changes})


@contextlib.contextmanager
def applied(changes: Mapping[str, Any]) -> Iterator[None]:
    """Set the switches that `recorded` found changed, and put back what was there on exit."""
    before = {name: _get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _setter(owner: Any, attribute: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return (
        lambda: getattr(owner, attribute),
        lambda value: setattr(owner, attribute, value),
    )


def _switches() -> dict[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Name -> how to read and write it. Tf32 is not among them: a variant states it itself."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    known = {f"cudnn.{name}": _setter(cudnn, name) for name in _CUDNN}
    for name in ("flash", "mem_efficient", "math", "cudnn"):
        enable = getattr(cuda, f"enable_{name}_sdp", None)
        enabled = getattr(cuda, f"{name}_sdp_enabled", None)
        if enable and enabled:
            known[f"sdp.{name}"] = (enabled, enable)
    for name in (
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    ):
        known[f"matmul.{name}"] = _setter(cuda.matmul, name)
    known["threads"] = (torch.get_num_threads, torch.set_num_threads)
    known["grad"] = (torch.is_grad_enabled, torch.set_grad_enabled)
    known["dtype"] = (torch.get_default_dtype, torch.set_default_dtype)
    known["deterministic"] = (
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    )
    if stance := _stance():
        known["compiler.stance"] = stance
    return known


_CUDNN = ("enabled", "benchmark", "deterministic")


def _stance() -> tuple[Callable[[], Any], Callable[[Any], None]] | None:
    """The compiler's stance, where it has been loaded; it has a setter and no public getter."""
    frame: Any = sys.modules.get("torch._dynamo.eval_frame")
    if frame is None or not hasattr(frame, "_stance") or not hasattr(torch.compiler, "set_stance"):
        return None

    def put(stance: Any) -> None:
        frame._stance = stance

    return (lambda: frame._stance), put


def all_values() -> Changes:
    values: Changes = {}
    for module in _COMPILER_CONFIGS:  # loaded before the switches are read: it adds the stance
        config = _config(module)
        values |= {f"{module}:{name}": value for name, value in config.items()}
    return values | {name: read() for name, (read, _) in _switches().items()}


def _config(module: str) -> Mapping[str, Any]:
    """A compiler module's settings; none where this torch has no such module or no way to ask."""
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return {}
    copy = getattr(loaded, "get_config_copy", None) or getattr(loaded, "to_dict", None)
    return copy() if copy else {}


def _get(name: str) -> Any:
    module, _, entry = name.partition(":")
    return getattr(sys.modules[module], entry) if entry else _switches()[name][0]()


def _set(values: Mapping[str, Any]) -> None:
    switches = _switches() if values else {}
    for name, value in values.items():
        module, _, entry = name.partition(":")
        if entry:
            setattr(sys.modules[module], entry, value)
        else:
            switches[name][1](value)
