"""A pipeline that a variant's own `build` returns, in place of one that is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import is_out_of_memory
from latentcy.pipelines.families import FAMILIES, family_of
from latentcy.pipelines.target import Target
from latentcy.pipelines.variants.variant import Variant

_EXPECTED = "a function of the target that returns a pipeline with " + ", or with ".join(
    ", ".join(one.parts) for one in FAMILIES
)
_built: dict[tuple[str, Target], Mapping[str, str]] = {}  # what each has returned before


def build_own(variant: Variant, target: Target) -> Any:
    """The pipeline that `variant.build` returns, ready for its scheduler and its hook.

    Raises LatentcyError where it raises, returns no pipeline, or another one than it did before in
    this process; an exhausted memory passes through unchanged.
    """
    assert variant.build is not None
    try:
        pipeline = variant.build(target)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise LatentcyError(
            found=f"build of variant {variant.id} raised {type(error).__name__}: {error}",
            expected=_EXPECTED,
            do="correct the variant's build function",
        ) from error
    missing = [name for name in family_of(pipeline).parts if getattr(pipeline, name, None) is None]
    if missing or not callable(pipeline):
        lacking = f", which has no {', '.join(missing)}" if missing else ", which is not callable"
        raise LatentcyError(
            found=f"build of variant {variant.id} returned {type(pipeline).__name__}{lacking}",
            expected=_EXPECTED,
            do="return the pipeline itself",
        )
    made, before = _made_of(pipeline), _built.get((variant.id, target))
    if before is not None and before != made:
        changed = [
            f"{name}: {made[name]}, before {before[name]}"
            for name in made
            if made[name] != before[name]
        ]
        raise LatentcyError(
            found=f"build of variant {variant.id} returned another pipeline ({'; '.join(changed)})",
            expected="the same pipeline each time: a case is loaded more than once",
            do="make it depend on nothing but the target",
        )
    _built[variant.id, target] = made
    return pipeline


def _made_of(pipeline: Any) -> dict[str, str]:
    """Of each part its class, and of a module the number and dtypes of its parameters."""
    made = {"pipeline": type(pipeline).__qualname__}
    for name in family_of(pipeline).parts:
        part = getattr(pipeline, name)
        made[name] = type(part).__qualname__
        if isinstance(part, torch.nn.Module):
            parameters = list(part.parameters())
            dtypes = sorted({str(one.dtype).removeprefix("torch.") for one in parameters})
            made[name] += f" of {sum(one.numel() for one in parameters)} in {', '.join(dtypes)}"
    return made
