"""Where was the first non-finite value born? And a control that makes one on purpose."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from latentcy.errors import LatentcyError

COMPONENTS = ("text_encoder", "unet", "vae")


@dataclass(frozen=True)
class OverflowOrigin:
    """The place where a generation's first NaN or infinity was born.

    Attributes:
        component: "text_encoder", "unet", "vae", or "pipeline" for what happens between them.
        module: the module's dotted name inside the component.
        dtype: of the non-finite tensor, as "float16".
        call: which call of that module it was, from 1.
        magnitude: largest finite magnitude among the module's inputs.
        fp32_magnitude: largest magnitude of the same module's output when repeated in fp32;
            None where that could not be repeated.
        born: "in the module" | "between its parts" (an operation of the module's own forward) |
            "before the module" (outside any module) | "in its weights".
    """

    component: str
    module: str
    dtype: str
    call: int
    magnitude: float
    fp32_magnitude: float | None = None
    born: str = "in the module"

    @property
    def sentence(self) -> str:
        """Say in one sentence where, in which dtype, and from what magnitude."""
        side = "before" if self.born == "before the module" else "in"
        text = (
            f"the first non-finite value was born in {self.component}, {side} "
            f"{self.module}, in {self.dtype}, on call {self.call}, "
            f"from inputs of magnitude up to {self.magnitude:.4g}"
        )
        if self.born == "in its weights":
            return f"{text}: its weights hold NaN or infinity"
        if self.born == "between its parts":
            text = f"{text}, between its parts"
        limit = torch.finfo(getattr(torch, self.dtype)).max
        if self.fp32_magnitude is not None and self.fp32_magnitude > limit:
            text = (
                f"{text}: float32 reaches {self.fp32_magnitude:.4g} there, "
                f"{self.dtype} ends at {limit:.5g}"
            )
        return text


def trace_overflow(
    sampler: Any, prompts: Sequence[str], seeds: Sequence[int]
) -> OverflowOrigin | None:
    """Generate again with a hook on every module, and name the first non-finite output.

    Args:
        sampler: its `pipeline` and its `observe(prompts, seeds)` are used.
        prompts: of the images to repeat.
        seeds: one for each prompt.

    Returns:
        The origin; None where no module of the text encoder, the UNet or the autoencoder took in
        or gave out a non-finite value (then it was born after the decoder, if at all).
    """
    with watch({name: getattr(sampler.pipeline, name, None) for name in COMPONENTS}) as observation:
        sampler.observe(list(prompts), list(seeds))
    return observation.origin


@dataclass
class Observation:
    """What the hooks have seen so far; `origin` is set once, at the first non-finite value."""

    origin: OverflowOrigin | None = None
    calls: dict[tuple[str, str], int] = field(default_factory=dict)
    active: list[_Call] = field(default_factory=list)


@contextmanager
def watch(components: dict[str, nn.Module | None]) -> Iterator[Observation]:
    """Hook all modules of the components for the duration; None components are left out."""
    observation = Observation()
    handles = []
    for component, root in components.items():
        if not isinstance(root, nn.Module):
            continue
        for name, module in root.named_modules():
            place = (component, name)
            handles.append(
                module.register_forward_pre_hook(_before(observation, place), with_kwargs=True)
            )
            handles.append(
                module.register_forward_hook(_after(observation, place), with_kwargs=True)
            )
    try:
        yield observation
    finally:
        for handle in handles:
            handle.remove()


def provoke_overflow(vae: nn.Module) -> str:
    """Rescale one convolution so that fp32 output is unchanged and fp16 overflows, in place.

    The positive control of the black-image gate. In a decoder's residual block `conv1` feeds the
    group norm `norm2` and nothing else, and a group norm divides any scale out again (but for its
    eps, so fp32 output changes by about eps / variance). The scale is the power of two that takes
    the largest weight to 16384..32768: the weights still fit fp16, their sums do not.

    Args:
        vae: an AutoencoderKL, on any device, in any dtype.

    Returns:
        The rescaled module's name, as "decoder.mid_block.resnets.0.conv1".

    Raises:
        LatentcyError: no convolution before a group norm, as in AutoencoderTiny.
    """
    blocks = sorted(vae.named_modules(), key=lambda item: "mid_block" not in item[0])
    for name, block in blocks:  # the decoder runs its mid block first
        if not name.startswith("decoder.") or not isinstance(
            getattr(block, "norm2", None), nn.GroupNorm
        ):
            continue
        conv = getattr(block, "conv1", None)
        if not isinstance(conv, nn.Conv2d) or getattr(block, "time_emb_proj", None) is not None:
            continue
        with torch.no_grad():
            parameters = [part for part in (conv.weight, conv.bias) if part is not None]
            largest = max(float(part.abs().max()) for part in parameters)
            scale = 2.0 ** math.floor(math.log2(2.0**15 / largest))
            for part in parameters:
                part.mul_(scale)
        return f"{name}.conv1"
    raise LatentcyError(
        found=f"an autoencoder ({type(vae).__name__}) without a convolution before a group norm",
        expected="an AutoencoderKL, whose decoder's residual blocks have conv1 before norm2",
        do="provoke the overflow in a variant with the full autoencoder",
    )


@dataclass
class _Call:
    place: tuple[str, str]
    number: int
    magnitude: float


def _before(observation: Observation, place: tuple[str, str]) -> Any:
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
        if observation.origin is not None:
            return
        number = observation.calls.get(place, 0) + 1
        observation.calls[place] = number
        tensor = _first_tensor((*args, *kwargs.values()))
        magnitude = math.nan if tensor is None else _magnitude(tensor)
        observation.active.append(_Call(place, number, magnitude))
        if tensor is None or bool(torch.isfinite(tensor).all()):
            return
        # All outputs so far were finite: an operation between modules made this.
        outer = observation.active[-2] if len(observation.active) > 1 else None
        observation.origin = OverflowOrigin(
            component=outer.place[0] if outer else "pipeline",
            module=outer.place[1] if outer else ".".join(part for part in place if part),
            dtype=_name(tensor.dtype),
            call=outer.number if outer else number,
            magnitude=max(outer.magnitude, magnitude) if outer else magnitude,
            born="between its parts" if outer else "before the module",
        )

    return hook


def _after(observation: Observation, place: tuple[str, str]) -> Any:
    def hook(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if observation.origin is not None:
            return
        call = observation.active.pop()
        tensor = _first_tensor(_flat(output))
        if tensor is None or bool(torch.isfinite(tensor).all()):
            return
        leaf = next(module.children(), None) is None
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        broken = any(not bool(torch.isfinite(part).all()) for part in own)
        observation.origin = OverflowOrigin(
            component=place[0],
            module=place[1],
            dtype=_name(tensor.dtype),
            call=call.number,
            magnitude=call.magnitude,
            fp32_magnitude=_repeat_in_fp32(module, args, kwargs) if leaf and not broken else None,
            born="in its weights" if broken else "in the module" if leaf else "between its parts",
        )

    return hook


def _repeat_in_fp32(module: nn.Module, args: tuple, kwargs: dict) -> float | None:
    def raised(value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.float() if floating else value

    try:
        with torch.no_grad(), torch.autocast(_device_type(module, args), enabled=False):
            # forward, not the call: a deep copy carries these very hooks
            output = (
                copy.deepcopy(module)
                .float()
                .forward(
                    *map(raised, args), **{key: raised(value) for key, value in kwargs.items()}
                )
            )
    except (
        RuntimeError,
        TypeError,
        ValueError,
        AttributeError,
    ):  # an explanation that cannot be had must not hide the finding
        return None
    tensor = _first_tensor(_flat(output))
    return _magnitude(tensor) if tensor is not None and torch.isfinite(tensor).all() else None


def _device_type(module: nn.Module, args: tuple) -> str:
    tensor = _first_tensor((*module.parameters(), *args))
    return "cpu" if tensor is None else tensor.device.type


def _first_tensor(values: Any) -> torch.Tensor | None:
    """The first floating-point tensor: what a module works on (masks may hold infinity)."""
    for value in values:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value
    return None


def _flat(output: Any) -> tuple:
    """A module's output as a tuple: a tensor, a tuple, or a model's output (a dict of fields)."""
    if isinstance(output, dict):
        return tuple(output.values())
    return tuple(output) if isinstance(output, (tuple, list)) else (output,)


def _magnitude(tensor: torch.Tensor) -> float:
    """Largest finite magnitude; NaN where no value is finite."""
    magnitudes = tensor.detach().abs()
    finite = magnitudes[torch.isfinite(magnitudes)]
    return float(finite.max()) if finite.numel() else math.nan


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
