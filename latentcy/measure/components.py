"""Parameters and bytes of a pipeline, part by part, read from its modules alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from latentcy.core.costs import Component
from latentcy.pipelines.families import family_of

# An autoencoder's children by the half that they serve; decoding never runs the encoder.
_HALVES = {
    "decoder": "decoder",
    "post_quant_conv": "decoder",
    "encoder": "encoder",
    "quant_conv": "encoder",
}


def components(pipeline: Any) -> tuple[Component, ...]:
    """Every part that holds tensors: denoiser, autoencoder by half, text encoders, then others."""
    family = family_of(pipeline)
    halves = (f"{family.decoder} decoder", f"{family.decoder} encoder")
    names = (family.denoiser, *halves, *family.text_encoders)
    parts: dict[str, list[torch.nn.Module]] = {name: [] for name in names}
    for name, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):
            whole = getattr(module, "_orig_mod", module)
            for part, one in _split(name, whole, name == family.decoder):
                parts.setdefault(part, []).append(one)
    seen: set[tuple[Any, ...]] = set()
    found = (_component(name, modules, seen) for name, modules in parts.items())
    return tuple(one for one in found if one.bytes or one.parameters)


def _split(
    name: str, module: torch.nn.Module, by_half: bool
) -> Iterator[tuple[str, torch.nn.Module]]:
    """The autoencoder's halves; what belongs to neither, and any other module, whole.

    The whole comes last: what its halves hold has been counted by then.
    """
    if by_half:
        for child, one in module.named_children():
            if child in _HALVES:
                yield f"{name} {_HALVES[child]}", one
    yield name, module


def _component(name: str, modules: list[torch.nn.Module], seen: set[tuple[Any, ...]]) -> Component:
    parameters = 0
    stored = 0
    by_dtype: Counter[str] = Counter()
    for module in modules:
        for parameter in module.parameters():
            inner = [one for one in _plain(parameter) if _first_time(one, seen)]
            if not inner:
                continue
            parameters += parameter.numel()
            for one in inner:
                size = one.numel() * one.element_size()
                by_dtype[str(one.dtype).removeprefix("torch.")] += size
                stored += size
        for buffer in module.buffers():
            inner = [one for one in _plain(buffer) if _first_time(one, seen)]
            stored += sum(one.numel() * one.element_size() for one in inner)
    dtypes = tuple(dtype for dtype, _ in by_dtype.most_common())
    return Component(name=name, parameters=parameters, bytes=stored, dtypes=dtypes)


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors that hold the data: a quantised weight is a wrapper around several."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        inner = getattr(tensor, name)
        if isinstance(inner, torch.Tensor):
            yield from _plain(inner)


def _first_time(tensor: torch.Tensor, seen: set[tuple[Any, ...]]) -> bool:
    """By place in its storage: tensors of one safetensors file can share a storage."""
    key = (
        tensor.untyped_storage()._cdata,
        tensor.storage_offset(),
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
    )
    new = key not in seen
    seen.add(key)
    return new
