"""Counting what a denoising step does: operators, waits for the device, copies, and where."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WINDOW = range(2, 8)  # steps that are counted: whole rounds of a cache of 2 or 3 steps


class Tally:
    """What was counted; only while the window is open."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.operators: Counter[str] = Counter()
        self.sites: Counter[str] = Counter()
        self.syncs = self.reads = self.transfers = self.casts = self.waits = 0
        self.counted = 0
        self.open = False
        self._step = 0

    def step(self, original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """In the scheduler's place: a step ends when its `step` has returned."""
        made = original(*arguments, **settings)
        self.counted += self.open
        self._step += 1
        self.open = self._step in WINDOW
        return made


class Operators(TorchDispatchMode):
    """Counts what reaches the dispatcher."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: tuple = (), settings: Any = None
    ) -> Any:
        made = operator(*arguments, **(settings or {}))
        if self._tally.open:
            self._note(operator, arguments, made, settings or {})
        return made

    def _note(self, operator: Any, arguments: tuple, made: Any, settings: Mapping) -> None:
        tally, name = self._tally, str(operator.overloadpacket)
        tally.operators[name] += 1
        if name in _SYNCS or (name in _INDEXING and _by_mask(arguments[1])):
            tally.syncs += 1
            tally.sites[_site()] += 1
        if name in ("aten._to_copy", "aten.copy_"):
            source = arguments[1] if name == "aten.copy_" else arguments[0]
            if source.device.type != made.device.type:
                tally.transfers += 1
                if made.device.type == "cpu" and not settings.get("non_blocking"):
                    tally.syncs += 1
                    tally.sites[_site()] += 1
            tally.casts += source.dtype != made.dtype


_SYNCS = frozenset(
    f"aten.{name}"
    for name in (
        "_local_scalar_dense",
        "nonzero",
        "is_nonzero",
        "equal",
        "masked_select",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
    )
)


_INDEXING = ("aten.index", "aten.index_put", "aten.index_put_")


def _by_mask(indices: Any) -> bool:
    """Whether what is indexed depends on values: how many of a mask are set."""
    return any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in indices)


class Reads(TorchFunctionMode):
    """Counts what Python code asks of the host: a copy to a CPU is one also on a CPU."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple = (), settings: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if self._tally.open and name in _READS and self._is_read(name, arguments, settings or {}):
            self._tally.reads += 1
            self._tally.sites[_site()] += 1
        return function(*arguments, **(settings or {}))

    def _is_read(self, name: str, arguments: tuple, settings: Mapping) -> bool:
        if name != "to":
            return True
        device = (*arguments[1:2], settings.get("device"))[0]
        # On a CPU a pipeline's own .to(device) names a torch.device, a copy to the host a text.
        return device == "cpu" or (self._tally.kind != "cpu" and str(device) == "cpu")


_READS = frozenset({"cpu", "to", "item", "tolist", "numpy", "__array__", "nonzero"})


@contextlib.contextmanager
def reported_waits(tally: Tally) -> Iterator[None]:
    """Count torch's own warnings of synchronising CUDA calls."""
    before, show = torch.cuda.get_sync_debug_mode(), warnings.showwarning

    def count_it(message: Any, *rest: Any, **settings: Any) -> None:
        if "synchronizing CUDA operation" in str(message):
            tally.waits += tally.open
        else:
            show(message, *rest, **settings)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = count_it
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def _site() -> str:
    """Where Python stood, outside torch and this module: "scheduling_ddim.py:step"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith(_TORCH):
            return f"{Path(file).name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "unknown"


_TORCH = str(Path(torch.__file__).parent)
