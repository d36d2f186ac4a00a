"""Healthy variants: other settings in which nothing is wrong, so that no gate may fail."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler

from latentcy.faults.changes import through
from latentcy.faults.fault import REFERENCE, TIMED_STEPS, healthy
from latentcy.pipelines.optimizations.recipes import (
    attention,
    channels_last,
    cudnn_benchmark,
    eager_attention,
    fused_qkv,
    hoisted,
    host_scheduled,
    stacked,
    vae_slicing,
)
from latentcy.pipelines.variants import Variant


def inference_mode(pipeline: Any) -> None:
    """The UNet runs without any of autograd's bookkeeping."""

    def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
        with torch.inference_mode():
            return original(*arguments, **settings)

    through(pipeline.unet, "forward", forward)


def handed_on(pipeline: Any) -> None:
    """Wrappers that hand everything on, as monitoring tools add them."""
    for owner, name in (
        (pipeline.unet, "forward"),
        (pipeline.vae, "decode"),
        (pipeline, "encode_prompt"),
        (pipeline.scheduler, "step"),
    ):
        through(owner, name, lambda original, *rest, **more: original(*rest, **more))


def reloaded(pipeline: Any) -> None:
    """The weights saved and read again, the scheduler made anew from its config."""
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.load_state_dict({name: one.clone() for name, one in part.state_dict().items()})
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)


def sliced(pipeline: Any) -> None:
    pipeline.enable_attention_slicing(1)


def rescaled_and_back(pipeline: Any) -> None:
    """A LoRA fused and unfused, which leaves rounding alone."""
    for module in pipeline.unet.modules():
        if isinstance(module, torch.nn.Linear):
            delta = 0.01 * torch.ones_like(module.weight)
            module.weight.data.add_(delta).sub_(delta)


HEALTHY: tuple[Variant, ...] = (
    Variant(
        REFERENCE,
        "Nothing: what all others are held against.",
        steps=8,
        reference=REFERENCE,
        ssim_reference=None,
        no_slower_on=(),
    ),
    Variant(
        f"{REFERENCE}-timed",
        "Nothing, with the steps of those that are timed.",
        steps=TIMED_STEPS,
        reference=f"{REFERENCE}-timed",
        ssim_reference=None,
    ),
    healthy("sound-again", "Nothing, a second time."),
    healthy(
        "sound-fp16",
        "All weights in float16.",
        dtype="float16",
        steps=4,
        reference="sound-four-steps",
        ssim_reference="sound-four-steps",
    ),
    healthy(
        "sound-four-steps",
        "Nothing, with four steps.",
        steps=4,
        reference="sound-four-steps",
        ssim_reference=None,
    ),
    healthy("sound-bf16", "All weights in bfloat16.", dtype="bfloat16"),
    healthy(
        "sound-autocast",
        "Under autocast in bfloat16, which keeps a second copy of the weights.",
        memory_gated=False,
        autocast="bfloat16",
        cpu_autocast="bfloat16",
    ),
    healthy("sound-channels-last", "Channels innermost in memory.", channels_last),
    healthy("sound-attention-slicing", "Attention in slices.", sliced),
    healthy("sound-vae-slicing", "Images decoded one by one.", vae_slicing),
    healthy("sound-eager-attention", "Attention as two matrix products.", eager_attention),
    healthy("sound-math-attention", "Torch's plain attention.", attention("math")),
    healthy("sound-fused-qkv", "One projection for query, key and value.", fused_qkv),
    healthy("sound-cudnn-benchmark", "cuDNN searches for its kernels.", cudnn_benchmark),
    healthy("sound-inference-mode", "The UNet in inference mode.", inference_mode),
    healthy("sound-wrapped", "Wrappers that hand everything on.", handed_on),
    healthy("sound-reloaded", "Weights read again, the scheduler made anew.", reloaded),
    healthy("sound-unfused", "A LoRA fused and unfused again.", rescaled_and_back),
    healthy("sound-hoisted", "Projections of the prompt once a call.", hoisted),
    healthy("sound-host-scheduled", "The scheduler's table on the host.", host_scheduled),
    healthy(
        "sound-stacked",
        "Several of these at once.",
        stacked(channels_last, vae_slicing, fused_qkv, inference_mode),
    ),
)
