"""Whether a pipeline has been given to torch.compile."""

from __future__ import annotations

from typing import Any

import torch


def is_compiled(pipeline: Any) -> bool:
    """Whether a module of the pipeline has been given to torch.compile, whole or in part."""
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for part in parts
        for module in part.modules()
    )
