"""How a healthy pipeline is changed: one place each where faults are put in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn


def through(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Have owner.name(...) go through wrapper(original, ...), for good."""
    original = getattr(owner, name)

    @functools.wraps(original)  # diffusers looks at signatures
    def changed(*arguments: Any, **settings: Any) -> Any:
        return wrapper(original, *arguments, **settings)

    setattr(owner, name, changed)


def on_decoded(pipeline: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change what the autoencoder gives out, [n, 3, height, width], nominally -1..1."""

    def decode(original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        return _first(original(*arguments, **settings), change)

    through(pipeline.vae, "decode", decode)


def on_latents(pipeline: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change what the autoencoder is given, [n, 4, height / 8, width / 8]."""

    def decode(original: Callable[..., Any], z: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        return original(change(z), *rest, **settings)

    through(pipeline.vae, "decode", decode)


def on_predicted(
    pipeline: Any, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    """Change what the UNet predicts; `change` is given the prediction and the timestep."""

    def forward(
        original: Callable[..., Any], sample: torch.Tensor, timestep: Any, *rest: Any, **more: Any
    ) -> Any:
        made = original(sample, timestep, *rest, **more)
        return _first(made, lambda noise: change(noise, torch.as_tensor(timestep)))

    through(pipeline.unet, "forward", forward)


def on_guidance(
    pipeline: Any, change: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Change the two halves of a guided prediction: without and with the prompt."""

    def both(noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.cat(change(*noise.chunk(2)))

    on_predicted(pipeline, both)


def on_embeddings(
    pipeline: Any, change: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Change the embeddings of the prompts and of the negative prompts, [n, tokens, width]."""

    def encode(original: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        return change(*original(*arguments, **settings))

    through(pipeline, "encode_prompt", encode)


def on_noise(pipeline: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the starting noise, [n, 4, height / 8, width / 8]."""

    def prepare(original: Callable[..., Any], *arguments: Any, **settings: Any) -> torch.Tensor:
        return change(original(*arguments, **settings))

    through(pipeline, "prepare_latents", prepare)


def each_step(pipeline: Any, extra: Callable[[torch.Tensor], object]) -> None:
    """Do something more after every call of the UNet, with what it predicted."""

    def after(noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        extra(noise)
        return noise

    on_predicted(pipeline, after)


def attentions(module: nn.Module, *, kind: str = "") -> Iterator[nn.Module]:
    """The attention layers of a UNet: "attn1" looks at the image, "attn2" at the prompt."""
    for name, one in module.named_modules():
        if hasattr(one, "to_q") and hasattr(one, "to_out") and name.endswith(kind or ""):
            yield one


def scheduled(**changes: Any) -> Callable[[Any], None]:
    """A scheduler of the same kind with other settings."""

    def prepare(pipeline: Any) -> None:
        kind = type(pipeline.scheduler)
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **changes)

    return prepare


def _first(made: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A module's output with its first tensor changed: a tuple, or an output with `sample`."""
    if isinstance(made, tuple):
        return (change(made[0]), *made[1:])
    made.sample = change(made.sample)
    return made
