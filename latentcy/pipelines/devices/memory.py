"""Memory of a generation: its peak, and what is still held when it is over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from latentcy.core.costs import Memory
from latentcy.pipelines.devices.device import Device, peak_memory, synchronize


@dataclass
class Watched:
    """`memory` is known when the block that was watched has ended."""

    memory: Memory = field(default_factory=Memory)


@contextlib.contextmanager
def watched_memory(device: Device) -> Iterator[Watched]:
    """Measure peak memory inside the block, and what is held at its end.

    `peak_memory` with more figures: both reset the same counters, so use one of them. CUDA's
    figures are of torch's allocator; a CUDA graph's private pool is part of them, what other
    libraries allocate by themselves is not.
    """
    watched = Watched()
    with peak_memory(device) as peak:
        yield watched
    if device.kind != "cuda":
        watched.memory = Memory(peak_bytes=peak.bytes, after_resident_bytes=resident_bytes())
        return
    reserved = torch.cuda.max_memory_reserved(device.index)
    synchronize(device)
    watched.memory = Memory(
        peak_bytes=peak.bytes,
        peak_reserved_bytes=reserved,
        after_allocated_bytes=torch.cuda.memory_allocated(device.index),
        after_reserved_bytes=torch.cuda.memory_reserved(device.index),
        after_resident_bytes=resident_bytes(),
    )


def resident_bytes() -> int | None:
    """The resident set of this process now; Linux only, None elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
