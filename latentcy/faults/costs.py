"""Slower, hungrier, or getting so from call to call; the images are sound."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import nn

from latentcy.faults.changes import attentions, each_step, through
from latentcy.faults.fault import Fault, Prepare
from latentcy.pipelines.optimizations.recipes import eager_attention
from latentcy.pipelines.variants import DEVICE_KINDS

# That of a variant which promises to be no slower than its reference.
PROMISED: dict[str, Any] = {"no_slower_on": DEVICE_KINDS}


def busier(share: float) -> Prepare:
    """The interpreter is busy for `share` of the time that each call of the UNet took."""

    def prepare(pipeline: Any) -> None:
        def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
            started = time.perf_counter()
            made = original(*arguments, **settings)
            now = time.perf_counter()
            until = now + share * (now - started)
            while time.perf_counter() < until:
                pass
            return made

        through(pipeline.unet, "forward", forward)

    return prepare


def climbing(pipeline: Any) -> None:
    """Each call is 2 % slower than the one before."""
    calls: list[int] = []

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        return original(*arguments, **settings)

    def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
        started = time.perf_counter()
        made = original(*arguments, **settings)
        now = time.perf_counter()
        until = now + 0.02 * len(calls) * (now - started)
        while time.perf_counter() < until:
            pass
        return made

    through(pipeline, "encode_prompt", encode)
    through(pipeline.unet, "forward", forward)


def copy_weights_each_step(pipeline: Any) -> None:
    """The UNet's weights are brought anew for every call, as sequential offload does."""

    def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
        for parameter in pipeline.unet.parameters():
            parameter.data = parameter.data.clone()
        return original(*arguments, **settings)

    through(pipeline.unet, "forward", forward)


def twice(owner: str, name: str) -> Prepare:
    """A part of the work is done twice, and the first result thrown away."""

    def prepare(pipeline: Any) -> None:
        def again(original: Any, *arguments: Any, **settings: Any) -> Any:
            original(*arguments, **settings)
            return original(*arguments, **settings)

        through(getattr(pipeline, owner) if owner else pipeline, name, again)

    return prepare


def encode_each_step(pipeline: Any) -> None:
    """The prompt is encoded again in every step."""
    tokens = pipeline.tokenizer("a", padding="max_length", return_tensors="pt").input_ids
    each_step(pipeline, lambda noise: pipeline.text_encoder(tokens.to(noise.device)))


def decode_each_step(pipeline: Any) -> None:
    """The latents are decoded in every step."""
    inner = pipeline.vae.decoder
    each_step(pipeline, lambda noise: inner(pipeline.vae.post_quant_conv(noise.chunk(2)[0])))


def unfused_lora(pipeline: Any) -> None:
    """A low-rank branch beside each linear layer of the attention, which adds nothing."""

    class Beside(nn.Module):
        def __init__(self, layer: nn.Linear) -> None:
            super().__init__()
            self.layer = layer
            self.down = nn.Linear(layer.in_features, 8, bias=False).to(layer.weight)
            self.up = nn.Linear(8, layer.out_features, bias=False).to(layer.weight)
            nn.init.zeros_(self.up.weight)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.layer(hidden) + self.up(self.down(hidden))

    for attention in attentions(pipeline.unet):
        for name in ("to_q", "to_k", "to_v"):
            setattr(attention, name, Beside(getattr(attention, name)))
        attention.to_out[0] = Beside(attention.to_out[0])


def attend_head_by_head(pipeline: Any) -> None:
    """Attention falls back to a loop over the heads."""
    eager_attention(pipeline)
    for attention in attentions(pipeline.unet):

        def scores(
            query: torch.Tensor, key: torch.Tensor, mask: Any = None, layer: Any = attention
        ) -> torch.Tensor:
            heads = zip(query, key, strict=True)
            return torch.stack([(layer.scale * q @ k.T).softmax(-1) for q, k in heads])

        attention.get_attention_scores = scores


def keep_latents(pipeline: Any) -> None:
    """Every prediction of every call is kept, a megabyte a call."""
    kept: list[torch.Tensor] = []

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        text, empty = original(*arguments, **settings)
        kept.append(text.new_ones(2**18))
        return text, empty

    through(pipeline, "encode_prompt", encode)
    pipeline.kept_by_fault = kept


def keep_graph(pipeline: Any) -> None:
    """Small tensors are kept, one for each step, for a plot that nobody draws."""
    kept: list[torch.Tensor] = []
    each_step(pipeline, lambda noise: kept.append(noise.mean()))
    pipeline.kept_by_fault = kept


def pile_hooks(pipeline: Any) -> None:
    """Each call registers its hook again."""

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        pipeline.unet.mid_block.register_forward_hook(lambda module, given, made: None)
        return original(*arguments, **settings)

    through(pipeline, "encode_prompt", encode)


def pile_wrappers(pipeline: Any) -> None:
    """Each call wraps the UNet's forward once more, and adds a little work."""

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        each_step(pipeline, lambda noise: noise.abs().max())
        return original(*arguments, **settings)

    through(pipeline, "encode_prompt", encode)


def more_memory(pipeline: Any) -> None:
    """Each call of the UNet works in a buffer of 192 MiB."""

    def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
        buffer = torch.ones(48 * 2**20)
        made = original(*arguments, **settings)
        del buffer
        return made

    through(pipeline.unet, "forward", forward)


def keep_copies(pipeline: Any) -> None:
    """The weights from before an optimisation stay in memory beside the new ones, many times."""
    pipeline.kept_by_fault = [copy.deepcopy(pipeline.unet.state_dict()) for _ in range(10)]


def wider_weights(pipeline: Any) -> None:
    """The weights stay in float32 where the variant states float16."""
    pipeline.to(torch.float32)


def wider_text_encoder(pipeline: Any) -> None:
    """The text encoder alone is in another dtype than stated."""
    pipeline.text_encoder.to(torch.float16)

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        return tuple(one.to(pipeline.unet.dtype) for one in original(*arguments, **settings))

    through(pipeline, "encode_prompt", encode)


def narrow_inside(pipeline: Any) -> None:
    """One block computes in bfloat16, and its result is brought back."""
    block = pipeline.unet.mid_block.resnets[0].to(torch.bfloat16)

    def forward(original: Any, hidden: torch.Tensor, temb: torch.Tensor, *rest: Any) -> Any:
        return original(hidden.to(torch.bfloat16), temb.to(torch.bfloat16), *rest).to(hidden.dtype)

    through(block, "forward", forward)


COUNTED = ("operators",)
FAULTS = (
    Fault(
        "busy-steps",
        "Each step is 7 % longer, with nothing but the interpreter at work.",
        "huggingface/diffusers#8880",
        busier(0.07),
        ("speed",),
        "slower",
        PROMISED,
    ),
    Fault(
        "half-speed",
        "Each step takes half as long again.",
        "huggingface/diffusers#8880",
        busier(0.5),
        ("speed",),
        "slower",
        PROMISED,
    ),
    Fault(
        "climbing-latency",
        "Each call is a fiftieth slower than the one before.",
        "huggingface/diffusers#6398",
        climbing,
        ("climbing",),
        "with each of",
        PROMISED,
    ),
    Fault(
        "weights-copied-each-step",
        "The UNet's weights are copied for every call.",
        "huggingface/diffusers#2266",
        copy_weights_each_step,
        COUNTED,
        "operators",
        PROMISED,
    ),
    Fault(
        "unfused-lora",
        "A LoRA's branches run beside the layers instead of being fused.",
        "huggingface/diffusers#4833",
        unfused_lora,
        COUNTED,
        "operators",
        PROMISED,
    ),
    Fault(
        "attention-fallback",
        "Attention runs head by head.",
        "huggingface/diffusers#13060",
        attend_head_by_head,
        COUNTED,
        "operators",
        PROMISED,
    ),
    Fault(
        "unet-twice",
        "Each prediction is made twice, and the first thrown away.",
        "huggingface/diffusers#6708, a result that is dropped",
        twice("unet", "forward"),
        (*COUNTED, "schedule"),
        "operator|samples",
        PROMISED,
    ),
    Fault(
        "preview-each-step",
        "The latents are decoded in every step, for a preview that nobody looks at.",
        "a live preview that was left on",
        decode_each_step,
        COUNTED,
        "operators",
        PROMISED,
    ),
    Fault(
        "prompt-each-step",
        "The prompt is encoded again in every step.",
        "Capsize-Games/airunner#1008",
        encode_each_step,
        COUNTED,
        "operators",
        PROMISED,
    ),
    Fault(
        "item-each-step",
        "The host reads one number from the device in every step.",
        "huggingface/diffusers#6173",
        lambda pipeline: each_step(pipeline, lambda noise: noise.mean().item()),
        ("syncs",),
        "sync",
    ),
    Fault(
        "nonzero-each-step",
        "A mask is turned into indices in every step, which the host waits for.",
        "huggingface/diffusers#6708",
        lambda pipeline: each_step(pipeline, lambda noise: noise[noise > 2]),
        ("syncs",),
        "sync",
    ),
    Fault(
        "to-cpu-each-step",
        "Each prediction is copied to the CPU, and the copy dropped.",
        "huggingface/diffusers#6708",
        lambda pipeline: each_step(pipeline, lambda noise: noise.to("cpu", copy=True)),
        ("syncs",),
        "host reads",
    ),
    Fault(
        "memory-growing",
        "A megabyte is kept of every call.",
        "damian0815/compel#24",
        keep_latents,
        ("growth",),
        "tensor|byte|MiB|MB|grow",
    ),
    Fault(
        "tensors-kept",
        "A number is kept of every step.",
        "damian0815/compel#24",
        keep_graph,
        ("growth",),
        "tensor",
    ),
    Fault(
        "hooks-piling-up",
        "Each call registers its hook once more.",
        "EleutherAI/bergson#55",
        pile_hooks,
        ("growth", "switches"),
        "hook",
    ),
    Fault(
        "wrappers-piling-up",
        "Each call wraps the UNet once more, with one more operator.",
        "huggingface/diffusers#6398",
        pile_wrappers,
        ("growth",),
        "operator|grow",
    ),
    Fault(
        "memory-peak",
        "Each step works in a buffer of 192 MiB.",
        "a kernel's workspace that grew in an upgrade",
        more_memory,
        ("memory",),
        "MiB|memory|byte|peak",
    ),
    Fault(
        "weights-kept-ten-times",
        "Copies of the weights from before stay in memory.",
        "huggingface/diffusers#5270",
        keep_copies,
        ("memory",),
        "MiB|memory|byte|peak",
    ),
    Fault(
        "float32-stated-float16",
        "The weights are in float32 where float16 is stated.",
        "huggingface/diffusers#11346",
        wider_weights,
        ("dtype",),
        "float32",
        {"dtype": "float16"},
    ),
    Fault(
        "text-encoder-dtype",
        "The text encoder is in float16 beside a float32 UNet.",
        "openvinotoolkit/openvino.genai#4016",
        wider_text_encoder,
        ("dtype",),
        "text_encoder",
    ),
    Fault(
        "block-in-bfloat16",
        "One UNet block computes in bfloat16 where float32 is stated.",
        "a mixed-precision recipe that converts one block too many",
        narrow_inside,
        ("dtype",),
        "bfloat16",
    ),
)
