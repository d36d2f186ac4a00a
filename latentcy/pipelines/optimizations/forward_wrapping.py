"""Wrapping a module's forward in place, so that wrappers can be stacked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn


def wrap(module: nn.Module, wrapper: Callable[..., Any], *, between_calls: bool = False) -> None:
    """Have module.forward(...) go through wrapper(forward, ...).

    A wrapper that works `between_calls` does what a compiled or captured forward would not
    repeat: from then on `check_may_compile` refuses the module.
    """
    forward = module.forward

    @functools.wraps(forward)
    def wrapped(*arguments: Any, **settings: Any) -> Any:
        return wrapper(forward, *arguments, **settings)

    wrapped.between_calls = between_calls or _between_calls(module)  # type: ignore[attr-defined]
    module.forward = wrapped


def check_may_compile(module: nn.Module) -> None:
    """Raises ValueError where the module's forward has a wrapper that works between calls."""
    if _between_calls(module):
        raise ValueError("compiled and graphed have to be stacked before hoisted and deep_cached")


def _between_calls(module: nn.Module) -> bool:
    return getattr(module.forward, "between_calls", False)
