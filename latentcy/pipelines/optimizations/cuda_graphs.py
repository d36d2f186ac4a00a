"""CUDA graphs: a module's work captured once for each shape of its inputs, then replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from latentcy.pipelines.optimizations.compilation import part
from latentcy.pipelines.optimizations.forward_wrapping import check_may_compile

_WARM_UP = 3  # calls before the capture, in which kernels are compiled and tuned


def graphed(*names: str) -> Callable[[Any], None]:
    """Replay "denoiser", "decoder" or a component as CUDA graphs: one launch for all of it.

    Without a launch for each kernel the host is far ahead of the GPU, and its own time is hidden.
    """

    def recipe(pipeline: Any) -> None:
        for name in names:
            module = part(pipeline, name)
            check_may_compile(module)
            module.forward = Replayed(module.forward)

    return recipe


class Replayed:
    """A function of tensors on one CUDA device that is captured at its first call of each shape.

    It must do the same work for the same shapes, and read nothing back from the device. What it
    returns is a copy, so that the next replay does not write over it.

    Args:
        call: the function; tensors may stand among its arguments, not inside them.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._captured: dict[Any, _Capture] = {}

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """The same as `call`'s."""
        key = tuple(map(_shape, (*arguments, *settings.values()))), tuple(settings)
        if key not in self._captured:
            self._captured[key] = _Capture(self._call, arguments, settings)
        return self._captured[key].replay(arguments, settings)


class _Capture:
    """One graph, and the tensors that it reads and writes."""

    def __init__(
        self, call: Callable[..., Any], arguments: tuple[Any, ...], settings: dict[str, Any]
    ) -> None:
        self._inputs = [_copy(each) for each in (*arguments, *settings.values())]
        own = self._inputs[: len(arguments)]
        named = dict(zip(settings, self._inputs[len(arguments) :], strict=True))
        # -1 for tensors on a CPU, which torch.cuda.device takes for no device at all.
        self._device = next(x for x in self._inputs if isinstance(x, torch.Tensor)).get_device()
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    call(*own, **named)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._output = call(*own, **named)

    def replay(self, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        given = (*arguments, *settings.values())
        for mine, theirs in zip(self._inputs, given, strict=True):
            if isinstance(mine, torch.Tensor):
                mine.copy_(theirs)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return pytree.tree_map_only(torch.Tensor, torch.clone, self._output)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _shape(value: Any) -> Any:
    """What a graph is good for: a tensor's shape, dtype and layout, any other value as it is."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    return repr(value)
