"""Latentcy: is a diffusion pipeline still as fast, and as good, as it was?

What a variants file needs is here: `from latentcy import Needs, Quality, Tolerance, Variant`.
Each is imported when it is asked for, so that `import latentcy` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcy.core.quality_limits import Quality, Tolerance
    from latentcy.pipelines.variants.requirements import Needs
    from latentcy.pipelines.variants.variant import Variant

__all__ = ["Needs", "Quality", "Tolerance", "Variant"]

_HOMES = {
    "Needs": "latentcy.pipelines.variants.requirements",
    "Quality": "latentcy.core.quality_limits",
    "Tolerance": "latentcy.core.quality_limits",
    "Variant": "latentcy.pipelines.variants.variant",
}


def __getattr__(name: str) -> Any:
    """One of `__all__`. Raises AttributeError for another name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'latentcy' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
