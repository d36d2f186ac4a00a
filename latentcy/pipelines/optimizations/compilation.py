"""torch.compile of a pipeline's parts, whole or by regions, and what its failures look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import is_out_of_memory
from latentcy.pipelines.families import decoder_of, denoiser_of
from latentcy.pipelines.optimizations.forward_wrapping import check_may_compile

# Inductor's settings for the least time of a fixed shape. Products and pointwise kernels are tuned
# by trying; convolutions stay with cuDNN, which tunes its own where it is told to. CUDA graphs are
# `graphed`'s, outside.
FASTEST_OPTIONS: dict[str, Any] = {
    "max_autotune": True,
    "max_autotune_conv_backends": "ATEN",
    "conv_1x1_as_mm": True,
    "coordinate_descent_tuning": True,
    "triton.enable_persistent_tma_matmul": True,
    "triton.cudagraphs": False,
}
REGIONS = ("BasicTransformerBlock", "ResnetBlock2D")
_MOST_SHAPES = 64  # of one block's class; beyond torch's limit of 8 it would silently run eagerly


def compiled(
    *names: str,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    backend: str = "inductor",
) -> Callable[[Any], None]:
    """Compile "denoiser", "decoder" or a component whole, each for the very shapes it is given.

    Compiling happens at the first call of each shape. `options` that this torch does not know
    are left out; `mode` and `options` exclude each other, as in torch.compile.
    """

    def recipe(pipeline: Any) -> None:
        _allow_shapes()
        for name in names:
            module = part(pipeline, name)
            check_may_compile(module)
            module.forward = compile_call(
                module.forward, mode=mode, options=options, backend=backend
            )

    return recipe


def compile_call(
    call: Callable[..., Any],
    *,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    backend: str = "inductor",
) -> Callable[..., Any]:
    """`torch.compile` in one graph for fixed shapes, without the options that torch lacks."""
    known = None
    if options is not None:
        from torch import _inductor

        every = set(_inductor.list_options())
        known = {name: value for name, value in options.items() if name in every}
    return torch.compile(
        call, fullgraph=True, dynamic=False, mode=mode, options=known, backend=backend
    )


def compiled_regions(*, backend: str = "inductor") -> Callable[[Any], None]:
    """Compile the denoiser's repeated blocks one by one: the same code once for each shape."""

    def recipe(pipeline: Any) -> None:
        _allow_shapes()
        for module in _regions(denoiser_of(pipeline)):
            module.compile(fullgraph=True, dynamic=False, backend=backend)

    return recipe


def part(pipeline: Any, name: str) -> nn.Module:
    """The module that `compiled` and `graphed` call "denoiser" or "decoder", or a component."""
    if name == "denoiser":
        return denoiser_of(pipeline)
    return decoder_of(pipeline).decoder if name == "decoder" else getattr(pipeline, name)


def is_compile_failure(error: BaseException) -> bool:
    """True where torch.compile failed: its tracing, its code generation, or a compiler it calls.

    False for an exhausted memory, whoever met it, and for what the compiled code itself raised.
    """
    return not is_out_of_memory(error) and any(_by_compiler(each) for each in _chain(error))


def compile_failure(error: BaseException, variant_id: str) -> LatentcyError:
    """The one message for a failed compilation, with the first line that the compiler said."""
    innermost = [each for each in _chain(error) if _by_compiler(each)][-1]
    said = str(innermost).partition("Output:\n")[2] or str(innermost)  # what a C++ compiler said
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = next((each for each in lines if not each.startswith("backend=")), "no words")[:300]
    return LatentcyError(
        found=f"torch.compile, which failed for {variant_id} ({type(innermost).__name__}: {first})",
        expected="a pipeline that this torch and its compiler can compile",
        do="leave the variant out, or try another version of torch or of the compiler",
    )


def _allow_shapes() -> None:
    import torch._dynamo.config as dynamo

    name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
    setattr(dynamo, name, max(getattr(dynamo, name), _MOST_SHAPES))


def _regions(denoiser: nn.Module) -> Iterator[nn.Module]:
    return (each for each in denoiser.modules() if type(each).__name__ in REGIONS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it says of its own causes."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = getattr(seen, "inner_exception", None)  # BackendCompilerFailed, older torch
        seen = seen.__cause__ or inner or (None if seen.__suppress_context__ else seen.__context__)


def _by_compiler(error: BaseException) -> bool:
    """Whether it is an exception of torch's compiler or of Triton."""
    homes = ("torch._dynamo", "torch._inductor", "triton")
    own = any(each.__module__.startswith(homes) for each in type(error).__mro__)
    return own or (isinstance(error, RuntimeError) and str(error).startswith("torch.compile "))
