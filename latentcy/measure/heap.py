"""Python's heap from call to call: new objects, new tensors, and what older containers hold."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import torch
from torch import nn


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """No log record and no warning, which whoever listens may collect call by call."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class Heap:
    """Python's objects: those made since the block began, and what older containers hold.

    The older ones are frozen for the garbage collector meanwhile, which makes it quick. What was
    frozen before is thawed, since the collector does not tell of it, and stays so.
    """

    def __enter__(self) -> Heap:
        gc.unfreeze()
        gc.collect()
        self._old = _containers()
        self._lengths: list[int] = []
        self._types: Counter[type] = Counter()
        gc.freeze()
        return self

    def __exit__(self, *_: Any) -> None:
        self._old.clear()
        gc.unfreeze()

    def look(self, *, keep: bool) -> tuple[int, int, int, int]:
        """Bytes of new tensors, new objects, items, and bytes of the process; `keep` to compare."""
        gc.collect()
        resident = _resident()
        new = gc.get_objects()
        tensors, count = _tensor_bytes(new), len(new)
        if keep:
            self._lengths, self._types = [*map(len, self._old)], Counter(map(type, new))
        return tensors, count, sum(map(len, self._old)), resident

    def keeper(self) -> str:
        """The container that has grown most since what was kept, else the kind of object."""
        gained = [
            (len(one) - before, one)
            for one, before in zip(self._old, self._lengths, strict=True)
            if len(one) > before
        ]
        if gained:
            _, most = max(gained, key=lambda pair: pair[0])
            return f"a {type(most).__name__} of {len(most)} items{_owner(most, self._old)}"
        kinds = Counter(map(type, gc.get_objects()))
        kinds.subtract(self._types)
        kind, more = max(kinds.items(), key=lambda pair: pair[1])
        return f"{more} more objects of type {kind.__name__}" if more >= _OFTEN else ""


def _containers() -> list[Any]:
    """All lists, dicts, sets and queues; of dicts also those that hold nothing to collect.

    The garbage collector does not know a dict of numbers and texts before it holds something else.
    """
    objects = gc.get_objects()
    found = [one for one in objects if issubclass(type(one), _CONTAINERS)]
    plain = (one for one in gc.get_referents(*objects) if type(one) is dict)
    return found + list({id(one): one for one in plain if not gc.is_tracked(one)}.values())


_OFTEN = 5  # more objects of a kind than chance leaves
_CONTAINERS = (list, dict, set, deque)
_HOPS = 3  # from a container to the function, class or module that keeps it


def _owner(kept: Any, not_those: Any) -> str:
    """ " in the function f" : whose the container is, as far as the garbage collector knows."""
    seen, now = {id(kept), id(not_those)}, [kept]
    for _ in range(_HOPS):
        following: list[Any] = []
        for one in gc.get_referrers(*now):
            if id(one) in seen or one is now or isinstance(one, FrameType):
                continue
            seen.add(id(one))
            if isinstance(one, FunctionType):
                return f" in the function {one.__qualname__}"
            if isinstance(one, nn.Module) or hasattr(type(one), "config_name"):
                return f" in a {type(one).__name__}"
            following.append(one)
        now = following
        if not now:
            break
    return ""


def _tensor_bytes(objects: Sequence[Any]) -> int:
    """Of the tensors among these; a storage is counted once."""
    sizes: dict[tuple[str, int], int] = {}
    for one in objects:
        if issubclass(type(one), torch.Tensor):
            try:
                storage = one.untyped_storage()
                sizes[str(storage.device), storage.data_ptr()] = storage.nbytes()
            except (NotImplementedError, RuntimeError, TypeError):  # fake and wrapped tensors
                continue
    return sum(sizes.values())


def _resident() -> int:
    """Bytes of this process in main memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
