"""The dtype of every weight, and of what flows between the modules, as the variant states it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from latentcy.core.verdict import FAILED, PASSED, Verdict
from latentcy.measure.flops import uncompiled
from latentcy.measure.step_probe import decoder_entrance
from latentcy.pipelines.families import decoder_of, denoiser_of, family_of
from latentcy.pipelines.loading import is_kept_in_fp32
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps

GATE = "dtype"
STEPS = 2  # of the generation that is watched

# Modules of diffusers that answer in fp32 whatever their surroundings are: sinusoids of a timestep.
# The UNet casts them before they meet a weight.
_FP32_BY_NATURE = ("Timesteps", "GaussianFourierProjection")
# What autocast runs in its dtype (torch's list of operators in docs/amp): products, convolutions.
_AUTOCAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def dtype_verdict(sampler: Sampler) -> Verdict:
    """Has every weight, and all that flows, the dtype that the variant states for this device?

    Weights are the floating-point parameters and buffers of text encoder, UNet and autoencoder.
    Quantised ones are counted apart: tensor subclasses that hold another type (torchao, which keeps
    the dtype that it computes in), and storage in float8, which nothing computes in by itself.
    What the parts' classes keep in fp32 (`_keep_in_fp32_modules`) may be fp32.

    What flows is the output of every module of the three parts in a generation of two steps, what
    goes into UNet and decoder, and what products and convolutions compute in, so that an island is
    seen whose ends are cast back. Under autocast outputs are either dtype, and what computes is
    autocast's. An attention whose class or config upcasts, and that does not, is named too. What is
    compiled runs plainly meanwhile.
    """
    stated = getattr(torch, sampler.variant.resolved_dtype(sampler.device))
    name = sampler.variant.resolved_autocast(sampler.device)
    autocast = getattr(torch, name) if name else None
    weights = list(_weights(sampler))
    quantised = sum(one.quantised for one in weights)
    wrong = [
        f"{one.place} is {_name(one.dtype)}"
        for one in weights
        if one.dtype != stated and not one.quantised and not one.kept
    ]
    if wrong:
        return _failed(wrong, f"the variant states {_name(stated)} for all weights", len(weights))
    lost = list(_lost_upcasts(sampler))
    if lost:
        return Verdict(GATE, FAILED, "; ".join(lost[:3]))
    flows = flowing(sampler)
    wrong = [
        f"{place} {word} {_name(dtype)}"
        for (place, word), (dtype, allowed) in flows.items()
        if dtype not in allowed
    ]
    told = f"{_name(stated)}, {_name(autocast)} under autocast" if autocast else _name(stated)
    if wrong:
        return _failed(wrong, f"the variant states {told}", len(flows))
    more = f" ({quantised} of them quantised)" if quantised else ""
    return Verdict(
        GATE,
        PASSED,
        f"{len(weights)} weights{more} and what was taken, computed in and given at {len(flows)} "
        f"places are {told}, as the variant states",
    )


Flow = dict[tuple[str, str], tuple[torch.dtype, tuple[torch.dtype, ...]]]


def flowing(sampler: Sampler) -> Flow:
    """(module, word) -> the dtype seen, and those allowed, in a short generation, as they ran.

    The word is "gives", "takes" or "computes in". Of a module that was seen with several dtypes
    the one that is not allowed is kept.
    """
    stated = getattr(torch, sampler.variant.resolved_dtype(sampler.device))
    name = sampler.variant.resolved_autocast(sampler.device)
    autocast = getattr(torch, name) if name else None
    seen: Flow = {}
    running: list[str] = []  # the modules that have begun and not ended, the innermost last

    upcast = _upcast_part(sampler.pipeline, stated)

    def note(place: str, word: str, value: Any, allowed: tuple[torch.dtype, ...]) -> None:
        if place.split(".")[0] == upcast:
            allowed = (*allowed, torch.float32)
        for tensor in _tensors(value):
            if seen.get((place, word), (allowed[0], allowed))[0] in allowed:
                if tensor.dtype not in allowed:
                    seen.pop((place, word), None)  # so that the first fault stands first
                seen[place, word] = tensor.dtype, allowed

    def watched(place: str, module: nn.Module) -> Any:
        allowed: tuple[torch.dtype, ...] = (stated,) if autocast is None else (stated, autocast)
        if type(module).__name__ in _FP32_BY_NATURE:
            allowed = (*allowed, torch.float32)
        elif autocast is not None and isinstance(module, _AUTOCAST):
            allowed = (autocast,)

        def begin(module: nn.Module, given: Any) -> None:
            running.append(place)

        def end(module: nn.Module, given: Any, output: Any) -> None:
            running.pop()
            note(place, "gives", output, allowed)

        hooks = module.register_forward_pre_hook(begin), module.register_forward_hook(end)
        return lambda: [hook.remove() for hook in hooks]

    def computed(arguments: tuple[Any, ...]) -> None:
        if running:
            wanted = (stated,) if autocast is None else (autocast,)
            note(running[-1], "computes in", arguments, wanted)

    either = tuple(each for each in (stated, autocast) if each is not None)
    pipeline = sampler.pipeline
    with contextlib.ExitStack() as stack:
        short = stack.enter_context(with_few_steps(sampler, STEPS))
        stack.enter_context(uncompiled(set()))
        for part in family_of(pipeline).weighted:
            for inner, module in getattr(pipeline, part).named_modules():
                stack.callback(watched(f"{part}.{inner}".rstrip("."), module))
        family = family_of(pipeline)
        for place, entrance in (
            (family.denoiser, denoiser_of(pipeline)),
            (family.decoder, decoder_entrance(decoder_of(pipeline))),
        ):
            hook = entrance.register_forward_pre_hook(
                lambda module, given, settings, place=place: note(
                    place, "takes", (*given, settings.get("encoder_hidden_states")), either
                ),
                with_kwargs=True,
            )
            stack.callback(hook.remove)
        stack.enter_context(_Products(computed))
        short.generate()
    return seen


def _upcast_part(pipeline: Any, stated: torch.dtype) -> str:
    """The decoder's name where its own config has float16 decoded in float32; else ""."""
    config = getattr(decoder_of(pipeline), "config", None)
    forced = getattr(config, "force_upcast", False) and stated == torch.float16
    family = family_of(pipeline)
    return family.decoder if forced and family.upcasts_decoder else ""


class _Products(TorchDispatchMode):  # type: ignore[misc]
    """Tells the arguments of products with weights and of convolutions; attention's are others."""

    def __init__(self, tell: Callable[[tuple[Any, ...]], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: tuple[Any, ...] = (), settings: Any = None
    ) -> Any:
        if str(operator.overloadpacket) in ("aten.addmm", "aten.mm", "aten.convolution"):
            self._tell(arguments)
        return operator(*arguments, **(settings or {}))


class _Weight:
    """A floating-point parameter or buffer, and whether it is one that may differ."""

    def __init__(self, place: str, tensor: torch.Tensor, kept: bool) -> None:
        self.place, self.dtype = place, tensor.dtype
        self.quantised = is_quantised(tensor)
        self.kept = kept and tensor.dtype == torch.float32


def is_quantised(tensor: torch.Tensor) -> bool:
    """Whether it is stored in less than it computes in: a wrapping subclass, or float8."""
    wraps = type(tensor) not in (torch.Tensor, nn.Parameter)
    wraps = wraps or type(tensor.data) is not torch.Tensor
    return wraps or str(tensor.dtype).startswith("torch.float8")


def _weights(sampler: Sampler) -> Iterator[_Weight]:
    for part in family_of(sampler.pipeline).weighted:
        module = getattr(sampler.pipeline, part)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point():
                yield _Weight(f"{part}.{name}", tensor, is_kept_in_fp32(module, name))


def _lost_upcasts(sampler: Sampler) -> Iterator[str]:
    """Attentions that do not upcast though their config says so.

    diffusers keeps the two flags on each attention: its UNet's from `upcast_attention` of the
    config, the autoencoder's softmax always.
    """
    family = family_of(sampler.pipeline)
    for part in (family.denoiser, family.decoder):
        module = getattr(sampler.pipeline, part)
        stated = bool(getattr(module.config, "upcast_attention", False))
        for name, attention in module.named_modules():
            found = vars(attention).get("upcast_attention")
            if found is not None and part == family.denoiser and bool(found) != stated:
                done = "upcasts" if found else "does not upcast"
                yield f"{part}.{name} {done}, and the UNet's config states {stated}"
            softmax = vars(attention).get("upcast_softmax")
            if softmax is not None and part == family.decoder and not softmax:
                yield f"{part}.{name} makes its softmax without the upcast that its class states"


def _failed(wrong: list[str], stated: str, count: int) -> Verdict:
    """The first culprits in the order of running: what follows them inherits their dtype."""
    more = f"; and {len(wrong) - 3} more of {count}" if len(wrong) > 3 else ""
    return Verdict(GATE, FAILED, f"{'; '.join(wrong[:3])}{more}, where {stated}")


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors of a module's arguments or output."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
