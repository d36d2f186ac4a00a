"""Work that a denoising loop repeats though it does not change, done once instead: exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from latentcy.core.errors import UnsuitableError
from latentcy.pipelines.optimizations.forward_wrapping import wrap


def hoisted(pipeline: Any) -> None:
    """Project the text once for a generation, and the timesteps once for all.

    A UNet's cross-attention makes the same keys and values of the same text at every step, and
    its residual blocks the same offsets of the same timestep at every generation. The former are
    kept while the text is the same tensor, the latter in a table of all training timesteps. Only
    rounding differs. Stack it last: it works between calls of what is compiled and captured.

    Raises ValueError for a UNet that conditions on more than text and timestep, and for a
    scheduler whose timesteps are not whole.
    """
    unet = pipeline.unet
    check_plain(unet)
    text = _Text(unet)
    clock = _tabulate_timesteps(unet, pipeline.scheduler.config.num_train_timesteps)

    def between_calls(
        forward: Callable[..., Any],
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        **settings: Any,
    ) -> Any:
        if torch.is_floating_point(timestep):
            raise ValueError(f"a timestep of {timestep.dtype}, which is in no table")
        text.project(encoder_hidden_states)
        clock.position.copy_(timestep)
        return forward(sample, timestep, encoder_hidden_states=encoder_hidden_states, **settings)

    wrap(unet, between_calls, between_calls=True)


def host_scheduled(pipeline: Any) -> None:
    """DDIM's step from numbers that the host knows beforehand, in two operations.

    diffusers' own indexes a table by a timestep on the device, and so waits for it several times
    at every step. Raises ValueError for another scheduler, or one that clips.
    """
    from latentcy.pipelines.optimizations.host_ddim import HostDDIM

    pipeline.scheduler = HostDDIM.of(pipeline.scheduler)


def check_plain(unet: nn.Module) -> None:
    """Raises ValueError where the UNet conditions on more than a text and a timestep."""
    config = unet.config
    more = [
        name
        for name in (
            "class_embed_type",
            "num_class_embeds",
            "addition_embed_type",
            "encoder_hid_dim_type",
            "time_cond_proj_dim",
        )
        if getattr(config, name, None) is not None
    ]
    if more:
        raise UnsuitableError(f"a UNet with {more[0]}, which this recipe does not know")


class _Text:
    """The keys and values of the text in every cross-attention of a UNet."""

    def __init__(self, unet: nn.Module) -> None:
        self._layers = list(_cross_attentions(unet))
        self._of: torch.Tensor | None = None  # kept, so that no other tensor takes its place
        # One for each shape and never let go: a captured graph reads them where they were.
        self._made: dict[Any, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for layer in self._layers:
            layer.set_processor(_GivenText())

    @torch.no_grad()
    def project(self, text: torch.Tensor) -> None:
        """Make the keys and values of this text, [batch, tokens, width], where they are not."""
        if text is self._of:
            return
        new = [
            (_heads(each, each.to_k(text)), _heads(each, each.to_v(text))) for each in self._layers
        ]
        there = self._made.setdefault((text.shape, text.device), new)
        for layer, made, kept in zip(self._layers, new, there, strict=True):
            for name, fresh, old in zip(("text_key", "text_value"), made, kept, strict=True):
                old.copy_(fresh)
                layer.register_buffer(name, old, persistent=False)
        self._of = text


def _heads(layer: Any, projected: torch.Tensor) -> torch.Tensor:
    """[batch, tokens, width] as attention takes it: [batch, heads, tokens, width of one head]."""
    return projected.unflatten(-1, (layer.heads, -1)).transpose(1, 2)


class _GivenText:
    """diffusers' AttnProcessor2_0 for cross-attention whose keys and values are there already."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        query = _heads(attn, attn.to_q(hidden_states))
        made = F.scaled_dot_product_attention(query, attn.text_key, attn.text_value)
        made = attn.to_out[0](made.transpose(1, 2).flatten(2))
        if attn.residual_connection:
            made = made + hidden_states
        return made / attn.rescale_output_factor


class _Clock(nn.Module):
    """The timestep that all rows are read at, [1] int64; one module, so that it moves as one."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        position = torch.zeros(1, dtype=torch.long, device=device)
        self.register_buffer("position", position, persistent=False)


class _Row(nn.Module):
    """In place of a residual block's projection of the time embedding: a row of a table."""

    def __init__(self, table: torch.Tensor, clock: _Clock) -> None:
        super().__init__()
        self.clock = clock
        self.register_buffer("table", table, persistent=False)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.table.index_select(0, self.clock.position)


@torch.no_grad()
def _tabulate_timesteps(unet: nn.Module, timesteps: int) -> _Clock:
    """Replace every projection of the time embedding; returns the clock that all rows read."""
    weight = next(unet.parameters())
    every = torch.arange(timesteps, device=weight.device)
    embedded = unet.time_embedding(unet.time_proj(every).to(weight.dtype))
    clock = _Clock(weight.device)
    for block in unet.modules():
        projection = getattr(block, "time_emb_proj", None)
        if isinstance(projection, nn.Linear):
            active = embedded if block.skip_time_act else block.nonlinearity(embedded)
            block.time_emb_proj = _Row(projection(active), clock)
    return clock


def _cross_attentions(unet: nn.Module) -> Iterator[Any]:
    """The attention layers that look at the text, in diffusers' transformer blocks."""
    for block in unet.modules():
        layer = getattr(block, "attn2", None)
        if layer is not None:
            _check_layer(layer)
            yield layer


def _check_layer(layer: Any) -> None:
    unknown = [
        name
        for name in (
            "spatial_norm",
            "group_norm",
            "norm_cross",
            "norm_q",
            "norm_k",
            "added_kv_proj_dim",
        )
        if getattr(layer, name, None)
    ]
    if unknown:
        raise UnsuitableError(f"cross-attention with {unknown[0]}, which this recipe does not know")
