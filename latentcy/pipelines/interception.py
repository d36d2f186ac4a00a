"""A method of one object, led through a function of ours for a while."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def wrapped(owner: Any, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Have owner.name(...) go through wrapper(original, ...), and put back what was there."""
    original = getattr(owner, name)
    own = owner.__dict__.get(name)

    @functools.wraps(original)  # diffusers asks a scheduler's signatures what it may give
    def through(*arguments: Any, **settings: Any) -> Any:
        return wrapper(original, *arguments, **settings)

    owner.__dict__[name] = through
    try:
        yield
    finally:
        del owner.__dict__[name]
        if own is not None:
            owner.__dict__[name] = own
