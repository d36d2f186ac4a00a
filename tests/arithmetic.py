"""Which variants' arithmetic this CPU only emulates: tests that are not about it leave them out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from latentcy.generate.device import emulates, find_device
from latentcy.generate.variant import Variant

CPU = find_device("cpu")


def emulated(variant: Variant) -> str:
    """The dtype of the variant that this CPU emulates, 6 to 8 times as slowly; "" for none."""
    stated = (variant.resolved_dtype(CPU), variant.resolved_autocast(CPU))
    return next((dtype for dtype in stated if dtype and emulates(CPU, dtype)), "")


def needs(dtype: str) -> pytest.MarkDecorator:
    """Skips a test where this CPU only emulates the dtype, with that reason."""
    why = f"this CPU only emulates {dtype}, and the test is not about that"
    return pytest.mark.skipif(emulates(CPU, dtype), reason=why)


def parameters(variants: Iterable[Variant]) -> list[Any]:
    """A parameter for each variant, by its id; skipped where its arithmetic is emulated."""
    return [
        pytest.param(one, id=one.id, marks=[needs(dtype)] if (dtype := emulated(one)) else [])
        for one in variants
    ]
