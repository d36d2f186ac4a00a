"""The fault catalogue, as a variants file: one variant for each fault, and the healthy ones.

`pytest --benchmark --inject NAME` runs one of them, and so does
`--variants latentcy/faults/catalogue.py --no-builtin --only precision/NAME` in a clone.
"""

from __future__ import annotations

from dataclasses import replace

from latentcy.faults import (
    batches,
    black,
    costs,
    leaks,
    prompts,
    schedules,
    structure,
    tone,
    unstable,
)
from latentcy.faults.fault import Fault
from latentcy.faults.sound import HEALTHY
from latentcy.pipelines.variants import Variant

CATEGORIES = {
    "black": black.FAULTS,
    "tone": tone.FAULTS,
    "structure": structure.FAULTS,
    "prompt": prompts.FAULTS,
    "schedule": schedules.FAULTS,
    "unstable": unstable.FAULTS,
    "batch and placement": batches.FAULTS,
    "left behind": leaks.FAULTS,
    "cost": costs.FAULTS,
}

FAULTS: tuple[Fault, ...] = tuple(
    replace(fault, category=category) for category, faults in CATEGORIES.items() for fault in faults
)
VARIANTS: list[Variant] = [*HEALTHY, *(fault.variant for fault in FAULTS)]
