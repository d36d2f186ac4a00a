"""What is installed only where it is asked for: `pip install latentcy[report]` and the like."""

from __future__ import annotations

import importlib.util

from latentcy.core.errors import LatentcyError

# The extra of pyproject.toml that brings a module.
EXTRAS = {
    "plotly": "report",
    "jinja2": "report",
    "markupsafe": "report",
    "sqlalchemy": "history",
}


def check_extra(extra: str, wanted_for: str) -> None:
    """Raises LatentcyError where a module of the extra is not installed."""
    for module, brought_by in EXTRAS.items():
        if brought_by == extra and importlib.util.find_spec(module) is None:
            raise missing_module(module, wanted_for)


def missing_module(module: str, wanted_for: str) -> LatentcyError:
    """What a user is told where a module of EXTRAS is not installed."""
    extra = EXTRAS[module]
    return LatentcyError(
        found=f"no {module}, which {wanted_for} needs",
        expected=f"latentcy with its {extra} extra",
        do=f"pip install 'latentcy[{extra}]' (in a clone: pip install -e '.[{extra}]')",
    )
