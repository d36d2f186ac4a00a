"""Dtypes that this CPU computes in fp32, 6 to 8 times as slowly: tests about others leave them out.

Each dtype keeps a test of its own everywhere, of a tiny model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from latentcy.pipelines.devices.device import emulates, find_device
from latentcy.pipelines.variants.variant import Variant

CPU = find_device("cpu")


def native(dtype: str) -> pytest.MarkDecorator:
    """Skips a test where the CPU only emulates this dtype."""
    return pytest.mark.skipif(emulates(CPU, dtype), reason=f"this CPU only emulates {dtype}")


def variants(chosen: Iterable[Variant]) -> list[Any]:
    """A parameter for each, by its id, skipped where the CPU only emulates its dtype."""
    return [pytest.param(one, id=one.id, marks=native(_coarsest(one))) for one in chosen]


def _coarsest(variant: Variant) -> str:
    return variant.resolved_autocast(CPU) or variant.resolved_dtype(CPU)
