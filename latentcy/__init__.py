"""Latentcy: is a diffusion pipeline still as fast, and as good, as it was?

What a variants file needs is here: `from latentcy import Needs, Quality, Tolerance, Variant`, and
so are the assertions for one's own tests: `assert_not_black`, `assert_same_images`,
`assert_no_slower`, `assert_deterministic`. Each is imported when it is asked for, so that
`import latentcy` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcy.assertions import (
        assert_deterministic,
        assert_no_slower,
        assert_not_black,
        assert_same_images,
    )
    from latentcy.core.quality_limits import Quality, Tolerance
    from latentcy.pipelines.variants.requirements import Needs
    from latentcy.pipelines.variants.variant import Variant

__all__ = [
    "Needs",
    "Quality",
    "Tolerance",
    "Variant",
    "assert_deterministic",
    "assert_no_slower",
    "assert_not_black",
    "assert_same_images",
]

_HOMES = {
    "Needs": "latentcy.pipelines.variants.requirements",
    "Quality": "latentcy.core.quality_limits",
    "Tolerance": "latentcy.core.quality_limits",
    "Variant": "latentcy.pipelines.variants.variant",
    "assert_deterministic": "latentcy.assertions.determinism",
    "assert_no_slower": "latentcy.assertions.speed",
    "assert_not_black": "latentcy.assertions.images",
    "assert_same_images": "latentcy.assertions.images",
}


def __getattr__(name: str) -> Any:
    """One of `__all__`. Raises AttributeError for another name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'latentcy' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
