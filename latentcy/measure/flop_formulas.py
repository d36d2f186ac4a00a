"""Torch's counter of floating-point operations, with formulas that it lacks, and what it misses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


def counter() -> FlopCounterMode:
    """Torch's counter with the formulas below: two operations a multiply-add."""
    return FlopCounterMode(display=False, custom_mapping=MORE_FORMULAS)


class Leaves(TorchDispatchMode):
    """Under the counter: notes the operators of matrix arithmetic that it has no formula for."""

    supports_higher_order_operators = True

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self._counter = counter
        self.unseen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = _operator_name(func)
        packet = getattr(func, "_overloadpacket", func)
        if packet not in self._counter.flop_registry and _does_products(name):
            self.unseen.add(name)
        return func(*args, **(kwargs or {}))


_OWN_NAMESPACES = ("aten", "prim", "prims", "profiler", "c10d", "_c10d_functional")
_PRODUCTS = re.compile(r"(^|_)(\w*mm|mv|gemm|linear|convolution\w*|attention|lstm|gru)(_|$)")


def _does_products(name: str) -> bool:
    """Of torch's own operators by name; of another library's, any may."""
    namespace, _, operator = name.partition("::")
    return namespace not in _OWN_NAMESPACES or bool(_PRODUCTS.search(operator))


def _operator_name(func: Any) -> str:
    """As "aten::mm"."""
    schema = getattr(func, "_schema", None)
    if schema is not None:
        return str(schema.name)
    return f"{getattr(func, 'namespace', 'higher_order')}::{func}"


def _attention(
    query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **settings: Any
) -> int:
    """Scores and their product with the values; heads of keys and values count as the query's."""
    *leading, queries, width = query
    heads = 1
    for each in leading:
        heads *= each
    return 2 * heads * queries * key[-2] * (width + value[-1])


def _product(left: Any, *rest: Any, out_shape: Any = None, **settings: Any) -> int:
    """`left`'s rows by a matrix in whatever packing, whose columns the result's shape tells."""
    total = 2 * left[-1]
    for each in out_shape:
        total *= each
    return total


def _formulas() -> dict[Any, Callable[..., int]]:
    """For operators that torch's registry lacks, here or in older versions."""
    aten = torch.ops.aten
    wanted: dict[str, Callable[..., int]] = {
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_cudnn_attention": _attention,
        "_scaled_dot_product_fused_attention_overrideable": _attention,
        "_scaled_dot_product_attention_math_for_mps": _attention,
        "_int_mm": _product,
        "_weight_int8pack_mm": _product,
        "_weight_int4pack_mm": _product,
    }
    found = ((getattr(aten, name, None), formula) for name, formula in wanted.items())
    return {operator: formula for operator, formula in found if operator is not None}


MORE_FORMULAS = _formulas()
