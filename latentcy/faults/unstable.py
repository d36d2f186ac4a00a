"""Images that are other ones the next time, in another process, or after other work."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import nn

from latentcy.faults.changes import on_decoded, on_noise, on_predicted, through
from latentcy.faults.fault import Fault


def fresh_noise(pipeline: Any) -> None:
    """Some of the starting noise is drawn anew, whatever the seed."""
    own = torch.Generator()

    def mixed(latents: torch.Tensor) -> torch.Tensor:
        own.seed()
        noise = torch.randn(latents.shape, generator=own).to(latents)
        return 0.99**0.5 * latents + 0.1 * noise

    on_noise(pipeline, mixed)


def global_noise(pipeline: Any) -> None:
    """Some of the starting noise is drawn from torch's global generator."""
    on_noise(pipeline, lambda latents: latents + 0.1 * torch.randn(latents.shape).to(latents))


def ignore_generator(pipeline: Any) -> None:
    """The scheduler draws its noise without the generator that it is given."""

    def step(original: Any, *arguments: Any, generator: Any = None, **settings: Any) -> Any:
        return original(*arguments, **settings)

    through(pipeline.scheduler, "step", step)


def ignore_generator_at_start(pipeline: Any) -> None:
    """The starting noise is drawn without the generator, where no latents are given."""

    def prepare(original: Any, *arguments: Any, **settings: Any) -> torch.Tensor:
        *before, generator, latents = arguments
        return original(*before, None if latents is None else generator, latents, **settings)

    through(pipeline, "prepare_latents", prepare)


def remember(pipeline: Any) -> None:
    """A tenth of the last call's latents is mixed into the next call's."""
    kept: list[torch.Tensor] = []

    def decode(original: Any, z: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        if kept and kept[0].shape[1:] == z.shape[1:]:
            z = 0.9 * z + 0.1 * kept[0][:1]
        kept[:] = [z]
        return original(z, *rest, **settings)

    through(pipeline.vae, "decode", decode)


def stale_embeddings(pipeline: Any) -> None:
    """Embeddings are kept by the number of prompts, not by the prompts."""
    kept: dict[int, Any] = {}

    def encode(original: Any, prompt: Any, *rest: Any, **more: Any) -> Any:
        made = original(prompt, *rest, **more)
        return kept.setdefault(len(made[0]), made)

    through(pipeline, "encode_prompt", encode)


def first_call_differs(pipeline: Any) -> None:
    """The first call of the UNet is another one than those after it."""
    called: list[bool] = []

    def forward(noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        if called:
            return noise
        called.append(True)
        return 0.8 * noise

    on_predicted(pipeline, forward)


def weights_drift(pipeline: Any) -> None:
    """A LoRA is fused again in every call, on top of the last time."""
    layer = pipeline.unet.up_blocks[-1].resnets[-1].conv2

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        layer.weight.data.mul_(1.02)
        return original(*arguments, **settings)

    through(pipeline, "encode_prompt", encode)


def depend_on_process(pipeline: Any) -> None:
    """The order of a set of words, which every process hashes anew, gets into the image."""
    order = hash(f"sorted by hash in {os.getpid()}") % 997 / 997
    on_predicted(pipeline, lambda noise, timestep: noise * (1 + 0.02 * (order - 0.5)))


def jitter(pipeline: Any) -> None:
    """Sums in an order that changes from call to call: a difference in the last digits."""

    def last_digits(noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(time.perf_counter_ns() % 2**31)
        return noise + 1e-4 * torch.randn(noise.shape, generator=generator).to(noise)

    on_predicted(pipeline, last_digits)


def train_mode(pipeline: Any) -> None:
    """The UNet is in training mode, so that dropout is active."""
    for module in pipeline.unet.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.05
    pipeline.unet.train()


def clock_in_image(pipeline: Any) -> None:
    """A watermark that depends on the time of day."""

    def mark(image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        image[..., :2, :2] = (time.time_ns() % 1009) / 1009
        return image

    on_decoded(pipeline, mark)


def ignore_seed(pipeline: Any) -> None:
    """Every image starts from the same noise, whatever its seed."""
    generator = torch.Generator()

    def fixed(latents: torch.Tensor) -> torch.Tensor:
        generator.manual_seed(7)
        one = torch.randn(latents.shape[1:], generator=generator)
        return one.to(latents).expand_as(latents).contiguous()

    on_noise(pipeline, fixed)


def seed_globally(pipeline: Any) -> None:
    """Each call seeds torch's global generator for everybody."""

    def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
        torch.manual_seed(0)
        return original(*arguments, **settings)

    through(pipeline, "encode_prompt", encode)


AGAIN = ("repeat", "history")
FAULTS = (
    Fault(
        "fresh-noise",
        "A tenth of the starting noise is drawn anew in every call.",
        "huggingface/diffusers#13298",
        fresh_noise,
        AGAIN,
        "differ",
    ),
    Fault(
        "global-noise",
        "A tenth of the starting noise comes from the global generator.",
        "huggingface/diffusers#13298",
        global_noise,
        AGAIN,
        "differ",
    ),
    Fault(
        "generator-ignored",
        "The scheduler draws noise without the generator that it is given.",
        "huggingface/diffusers#13678",
        ignore_generator,
        ("generator",),
        "generator",
    ),
    Fault(
        "generator-ignored-at-start",
        "The starting noise is drawn without the generator that the pipeline is given.",
        "huggingface/diffusers#13298",
        ignore_generator_at_start,
        ("generator",),
        "generator",
    ),
    Fault(
        "state-kept",
        "A tenth of the last call's latents is in the next call's image.",
        "a cache of latents that is not emptied between calls",
        remember,
        AGAIN,
        "differ",
    ),
    Fault(
        "stale-embeddings",
        "Embeddings of earlier prompts are used for later ones.",
        "kijai/ComfyUI-WanVideoWrapper#2046",
        stale_embeddings,
        ("history", "seed", "CLIP"),
        "differ|same|prompt|CLIP",
    ),
    Fault(
        "first-call-differs",
        "The first call of a process gives another image than those after it.",
        "huggingface/diffusers#372",
        first_call_differs,
        (*AGAIN, "new process", "SSIM"),
        "differ|SSIM",
    ),
    Fault(
        "weights-drift",
        "A LoRA is fused once more in every call.",
        "huggingface/diffusers#14385",
        weights_drift,
        (*AGAIN, "switches"),
        "differ|weight",
    ),
    Fault(
        "process-dependent",
        "The image depends on the process's hash seed.",
        "Python: PYTHONHASHSEED",
        depend_on_process,
        ("new process",),
        "process",
    ),
    Fault(
        "jittering-kernel",
        "A kernel's sums differ in their last digits from call to call.",
        "huggingface/diffusers#1339",
        jitter,
        ("repeat",),
        "differ",
    ),
    Fault(
        "training-mode",
        "The UNet is in training mode, with dropout active.",
        "ipolharvard/ethos-ares#20",
        train_mode,
        ("repeat", "switches"),
        "differ|train",
    ),
    Fault(
        "clock-in-image",
        "Four pixels of every image depend on the time.",
        "huggingface/diffusers#7013",
        clock_in_image,
        ("repeat",),
        "differ",
    ),
    Fault(
        "seed-ignored",
        "Every image starts from the same noise.",
        "huggingface/diffusers#6218",
        ignore_seed,
        ("seed",),
        "seed",
    ),
    Fault(
        "global-seed",
        "Each call seeds the global generator for everybody.",
        "a helper for determinism that seeds everybody",
        seed_globally,
        ("history", "leaks", "switches"),
        "global|random|generator|RNG",
    ),
)
