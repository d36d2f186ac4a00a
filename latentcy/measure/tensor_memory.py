"""Bytes of tensors alive at once: the same on every run, on a CPU as on a GPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latentcy.measure.flops import uncompiled
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps

STEPS = 2  # each denoising step needs what the one before it needed


def peak_tensor_bytes(sampler: Sampler, *, steps: int = STEPS) -> int:
    """The most bytes that tensors held at once in a generation of `steps` steps.

    Weights, activations and whatever else in this process is a tensor count, storage by storage;
    what kernels allocate inside one operation does not. What is compiled or captured runs plainly
    for this. To be asked while the case is alone in memory.
    """
    with with_few_steps(sampler, steps) as short, uncompiled(set()), Alive(_storages()) as alive:
        short.generate()
    return alive.peak


class Alive(TorchDispatchMode):
    """Follows which storages are alive, from those given."""

    def __init__(self, storages: Iterable[torch.UntypedStorage]) -> None:
        super().__init__()
        self._known: set[int] = set()
        self._bytes = self.peak = 0
        for storage in storages:
            self._add(storage)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the signature is torch's
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if (storage := _storage(leaf)) is not None:
                self._add(storage)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        weakref.finalize(storage, self._drop, key, size).atexit = False
        self._bytes += size
        self.peak = max(self.peak, self._bytes)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._bytes -= size


def _storages() -> Iterable[torch.UntypedStorage]:
    """Of all tensors that Python can see."""
    gc.collect()
    found = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    return [storage for one in found if (storage := _storage(one)) is not None]


def _storage(value: Any) -> torch.UntypedStorage | None:
    """The storage of a tensor that has one; a wrapper's parts are tensors of their own.

    The compiler's fake tensors say that they are on a device, and only their storage tells.
    """
    if not isinstance(value, torch.Tensor) or value.device.type == "meta":
        return None
    try:
        storage = value.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None
    return None if storage.device.type == "meta" else storage
