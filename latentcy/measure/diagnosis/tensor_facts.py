"""What the hooks read off a tensor: whether it is finite, how large, how much of it is not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch


def floats(values: Iterable[Any]) -> list[torch.Tensor]:
    """The floating-point tensors among the values that hold anything, in order."""
    return [
        value
        for value in values
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel()
    ]


def parts(output: Any) -> tuple[Any, ...]:
    """A module's output as a tuple: a tensor, a tuple, or a model's output (a dict of fields)."""
    if isinstance(output, dict):
        return tuple(output.values())
    return tuple(output) if isinstance(output, (tuple, list)) else (output,)


def ends(tensor: torch.Tensor) -> tuple[float, float]:
    """Least and greatest value; both NaN where one value is NaN.

    One reduction and one wait for the device, so that it can be asked of every module.
    """
    whole = tensor.detach()
    if whole.element_size() == 1:  # float8 has no reductions
        whole = whole.float()
    least, greatest = torch.stack(torch.aminmax(whole)).tolist()
    return least, greatest


def magnitude(tensor: torch.Tensor) -> float:
    """Largest finite magnitude; NaN where no value is finite."""
    least, greatest = ends(tensor)
    if math.isfinite(least) and math.isfinite(greatest):
        return max(-least, greatest)
    magnitudes = tensor.detach().abs()
    finite = magnitudes[torch.isfinite(magnitudes)]
    return float(finite.max()) if finite.numel() else math.nan


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether every value is."""
    return all(math.isfinite(end) for end in ends(tensor))


def masks_at_most(tensor: torch.Tensor) -> bool:
    """Whether nothing but minus infinity is not finite, as in an attention mask."""
    least, greatest = ends(tensor)
    return not math.isnan(least) and greatest < math.inf


def amount(tensor: torch.Tensor) -> str:
    """How much is not finite, as "infinity in 12 of 4096 values, 1 of 64 channels"."""
    values = tensor.detach()
    nan, infinite = torch.isnan(values), torch.isinf(values)
    named = [name for name, each in (("NaN", nan), ("infinity", infinite)) if bool(each.any())]
    broken = nan | infinite
    text = f"{' and '.join(named)} in {int(broken.sum())} of {values.numel()} values"
    if values.ndim == 4 and values.shape[1] > 1:
        text += (
            f", {int(broken.any(dim=3).any(dim=2).any(dim=0).sum())} of {values.shape[1]} channels"
        )
    return text


def broken_rows(tensor: torch.Tensor) -> tuple[tuple[int, ...], int]:
    """Which rows of the first dimension hold what is not finite, and how many rows there are."""
    if not tensor.ndim:
        return (0,), 1
    broken = ~torch.isfinite(tensor.detach()).reshape(len(tensor), -1).all(dim=1)
    return tuple(broken.nonzero().flatten().tolist()), len(tensor)


def dtype_name(dtype: torch.dtype) -> str:
    """As "float16"."""
    return str(dtype).removeprefix("torch.")
