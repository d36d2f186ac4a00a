"""DeepCache: the UNet's deep features are made at every few steps and reused between them.

Ma, Fang and Wang, "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024
(arXiv:2312.00858), with uniform intervals and the shallowest branch: what the last layer of the
last up block takes from below is kept, and the steps between run only the first convolution, that
layer and the output. diffusers' own cache hooks (FirstBlockCache, FasterCache, Pyramid Attention
Broadcast and others in 0.42) are for transformers; pyramid attention alone finds layers in a UNet,
and saves their attention only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from latentcy.core.errors import UnsuitableError
from latentcy.pipelines.optimizations.forward_wrapping import wrap
from latentcy.pipelines.optimizations.hoisting import check_plain

Call = Callable[..., Any]


def deep_cached(
    every: int, around: Callable[[Call], Call] = lambda call: call
) -> Callable[[Any], None]:
    """Run the whole UNet at every `every`-th step of a generation, from its first one on.

    `around` is put around both the whole and the shallow pass, to compile or capture them: they
    take the UNet's forward's place, so that nothing may have wrapped that before. A new generation
    is known by its text embeddings, another tensor each time. At `every` 1 each step is a whole
    one. Raises ValueError for a UNet that it does not know.
    """
    if every < 1:
        raise ValueError(f"every {every} steps; 1 is the least")

    def recipe(pipeline: Any) -> None:
        unet = pipeline.unet
        if "forward" in vars(unet):
            raise ValueError("deep_cached has to be stacked before what wraps the UNet's forward")
        check_plain(unet)
        _check_blocks(unet)
        whole, shallow = around(_Whole(unet)), around(_Shallow(unet))
        text: torch.Tensor | None = None  # kept, so that no other tensor takes its place
        step, deep = 0, None

        def cached(
            forward: Call,
            sample: torch.Tensor,
            timestep: Any,
            encoder_hidden_states: torch.Tensor,
            return_dict: bool = True,
            **settings: Any,
        ) -> Any:
            nonlocal text, step, deep
            given = [name for name, value in settings.items() if value is not None]
            if given:
                raise ValueError(f"{given[0]}, which DeepCache does not know")
            if encoder_hidden_states is not text:
                text, step = encoder_hidden_states, 0
            if step % every == 0:
                noise, deep = whole(sample, timestep, encoder_hidden_states)
            else:
                noise = shallow(sample, timestep, encoder_hidden_states, deep)
            step += 1
            return _output(noise) if return_dict else (noise,)

        wrap(unet, cached, between_calls=True)

    return recipe


class _Pass:
    """A pass through parts of a UNet; the order of operations is UNet2DConditionModel's."""

    def __init__(self, unet: nn.Module) -> None:
        self._unet = unet

    def _begin(self, sample: torch.Tensor, timestep: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The first convolution's features, and the time embedding."""
        unet = self._unet
        embedding = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep))
        return unet.conv_in(sample), embedding

    def _last_layers(
        self,
        layers: slice,
        hidden: torch.Tensor,
        skips: tuple[torch.Tensor, ...],
        embedding: torch.Tensor,
        text: torch.Tensor,
    ) -> torch.Tensor:
        """Some layers of the last up block; `skips` are taken from the end."""
        block = self._unet.up_blocks[-1]
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for resnet, attention in list(zip(block.resnets, attentions, strict=True))[layers]:
            hidden, skips = torch.cat([hidden, skips[-1]], dim=1), skips[:-1]
            hidden = resnet(hidden, embedding)
            if attention is not None:
                hidden = attention(hidden, encoder_hidden_states=text, return_dict=False)[0]
        return hidden

    def _end(self, hidden: torch.Tensor) -> torch.Tensor:
        unet = self._unet
        if unet.conv_norm_out:
            hidden = unet.conv_act(unet.conv_norm_out(hidden))
        return unet.conv_out(hidden)


class _Whole(_Pass):
    """The whole UNet: the predicted noise, and the features that the shallow pass reuses."""

    def __call__(
        self, sample: torch.Tensor, timestep: Any, text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        unet = self._unet
        first, embedding = self._begin(sample, timestep)
        hidden, skips = first, (first,)
        for block in unet.down_blocks:
            hidden, more = block(hidden_states=hidden, temb=embedding, **_text(block, text))
            skips += more
        if unet.mid_block is not None:
            hidden = unet.mid_block(hidden, embedding, **_text(unet.mid_block, text))
        for block in unet.up_blocks[:-1]:
            count = len(block.resnets)
            hidden = block(
                hidden_states=hidden,
                temb=embedding,
                res_hidden_states_tuple=skips[-count:],
                upsample_size=skips[-count - 1].shape[2:],
                **_text(block, text),
            )
            skips = skips[:-count]
        deep = self._last_layers(slice(None, -1), hidden, skips, embedding, text)
        last = self._last_layers(slice(-1, None), deep, (first,), embedding, text)
        return self._end(last), deep


class _Shallow(_Pass):
    """First convolution, last layer and output, around features that another step has made."""

    def __call__(
        self, sample: torch.Tensor, timestep: Any, text: torch.Tensor, deep: torch.Tensor
    ) -> torch.Tensor:
        first, embedding = self._begin(sample, timestep)
        return self._end(self._last_layers(slice(-1, None), deep, (first,), embedding, text))


def _text(block: nn.Module, text: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}


def _check_blocks(unet: nn.Module) -> None:
    last = unet.up_blocks[-1]
    if getattr(unet.config, "time_cond_proj_dim", None) is not None:
        raise UnsuitableError("a UNet that is told the guidance scale: DeepCache does not know it")
    if unet.config.center_input_sample or getattr(last, "upsamplers", None) is not None:
        raise UnsuitableError("a UNet that centres its input, or upsamples after its last block")
    if len(last.resnets) < 2:
        raise UnsuitableError("a UNet whose last block has one layer: nothing of it would be kept")


def _output(noise: torch.Tensor) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    return UNet2DConditionOutput(sample=noise)
