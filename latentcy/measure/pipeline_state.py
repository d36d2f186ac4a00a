"""The state of a pipeline's parts: modules, hooks, wrappers, attention, devices, weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from latentcy.pipelines.families import family_of

_SWITCHES = (  # of an autoencoder or a UNet
    "use_slicing",
    "use_tiling",
    "tile_sample_min_size",
    "tile_latent_min_size",
    "tile_overlap_factor",
    "gradient_checkpointing",
    "fused_projections",
)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")


def parts_state(pipeline: Any) -> dict[str, Any]:
    """What is set on the pipeline and on each module of its parts, and a digest of the weights.

    Tensors that a recipe keeps between steps (buffers that are not saved) are left out.
    """
    state: dict[str, Any] = {
        "progress bar": dict(getattr(pipeline, "_progress_bar_config", {})),
        "scheduler's class": type(pipeline.scheduler).__name__,
        "scheduler's config": {**pipeline.scheduler.config},
    }
    for name in ("_offload_device", "_offload_gpu_id"):
        state[f"pipeline.{name}"] = str(getattr(pipeline, name, None))
    for owner, place in (("pipeline", pipeline), ("scheduler", pipeline.scheduler)):
        state |= {f"{owner}.{name}": value for name, value in _own_functions(place)}
    for part in family_of(pipeline).weighted:
        module = getattr(pipeline, part)
        if isinstance(module, nn.Module):
            state |= _modules_state(part, module)
            state |= {f"weights of {part}.{name}": value for name, value in digest(module).items()}
    return state


def digest(module: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Of each saved tensor its kind, and the sums of its values, of magnitudes, and by place.

    Equal before and after where nothing has written to them. All sums are brought to the host at
    once. A tensor that cannot be summed (some quantised kinds) has only its kind.
    """
    kinds, sums = {}, {}
    for name, tensor in saved(module):
        kinds[name] = (str(tensor.dtype), tuple(tensor.shape), str(tensor.device))
        try:
            sums[name] = _sums(tensor.detach())
        except (NotImplementedError, RuntimeError, TypeError):
            continue
    values: dict[str, tuple[Any, ...]] = {}
    for device in {str(one.device) for one in sums.values()}:
        mine = [name for name, one in sums.items() if str(one.device) == device]
        found = torch.stack([sums[name] for name in mine]).tolist()
        values |= {
            name: tuple(map(_comparable, row)) for name, row in zip(mine, found, strict=True)
        }
    return {name: (*kind, *values.get(name, ())) for name, kind in kinds.items()}


def saved(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters, and the buffers that would be saved with them."""
    yield from module.named_parameters()
    for path, inner in module.named_modules():
        for name, tensor in inner.named_buffers(recurse=False):
            if name not in inner._non_persistent_buffers_set:
                yield f"{path}.{name}".lstrip("."), tensor


def lora_layers(module: nn.Module) -> list[str]:
    """The modules that carry an adapter which is not fused into the weights."""
    return [
        name
        for name, inner in module.named_modules()
        if type(inner).__module__.startswith("peft.") or getattr(inner, "lora_layer", None)
    ]


def offloaded(pipeline: Any) -> list[str]:
    """The modules that accelerate moves between devices."""
    return [
        f"{part}.{name}".rstrip(".")
        for part in family_of(pipeline).weighted
        for name, inner in getattr(pipeline, part).named_modules()
        if hasattr(inner, "_hf_hook")
    ]


def _modules_state(part: str, module: nn.Module) -> dict[str, Any]:
    modules = dict(module.named_modules())
    state: dict[str, Any] = {
        f"{part}'s modules": Counter(type(one).__name__ for one in modules.values()),
        f"{part} in training mode": sum(one.training for one in modules.values()),
        f"{part}'s layers of an adapter": len(lora_layers(module)),
    }
    for name in _SWITCHES:
        if hasattr(module, name):
            state[f"{part}.{name}"] = getattr(module, name)
    for path, inner in modules.items():
        place = f"{part}.{path}".rstrip(".")
        hooks = len(list(_foreign_hooks(inner)))
        if hooks:
            state[f"hooks of {place}"] = hooks
        if hasattr(inner, "processor"):
            state[f"attention processor of {place}"] = type(inner.processor).__name__
        state |= {f"{place}.{name}": value for name, value in _own_functions(inner)}
    return state


def _foreign_hooks(module: nn.Module) -> Iterator[Any]:
    """A module's hooks but for the recorder that transformers 5 installs at an encoder's first use.

    It does nothing unless hidden states are asked for, and stays.
    """
    for name in _HOOKS:
        for hook in (getattr(module, name, None) or {}).values():
            if not str(getattr(hook, "__module__", "")).startswith("transformers.utils."):
                yield hook


def _own_functions(owner: Any) -> Iterator[tuple[str, Any]]:
    """Functions that stand on the object itself, over those of its class: wrappers."""
    for name, value in tuple(vars(owner).items()):
        if callable(value) and not isinstance(value, (nn.Module, type, str)) and name not in _PARTS:
            yield name, value


# Objects that can be called and are parts, not wrappers.
_PARTS = ("tokenizer", "image_processor", "processor", "feature_extractor", "act", "act_fn")


def _sums(tensor: torch.Tensor) -> torch.Tensor:
    """Three float64 on the tensor's device; the last one sees two values that change places."""
    if tensor.device.type == "meta":
        raise RuntimeError("no data")
    flat = tensor.flatten()
    by_place = flat[:: max(1, flat.numel() // _PLACES)].double()
    weights = torch.arange(1, len(by_place) + 1, dtype=torch.float64, device=flat.device)
    if not flat.is_floating_point():
        flat = flat.double()
    return torch.stack(
        [
            flat.sum(dtype=torch.float64),
            torch.linalg.vector_norm(flat, 1, dtype=torch.float64),
            (by_place * weights).sum(),
        ]
    )


_PLACES = 4096


def _comparable(value: float) -> float | str:
    return "nan" if math.isnan(value) else value
