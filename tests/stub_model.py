"""A stub model, which needs torch alone: for tests of processes rather than of pipelines.

`stub_file(path, text)` writes a variants file with `text` that puts the stub in the place of
whatever model the process that runs the file would load. Its images follow prompts, seeds and
steps, and a step takes a millisecond.
"""

from __future__ import annotations

import sys
import time
import types
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

STEP_SECONDS = 0.001


class StubPipeline:
    """What a Sampler asks of a pipeline, and a `unet.forward` that a recipe can wrap."""

    vae_scale_factor = 8

    def __init__(self) -> None:
        config = SimpleNamespace(in_channels=4)
        self.unet = SimpleNamespace(config=config, dtype=torch.float32, forward=self._step)

    def __call__(
        self, prompt: str | list[str], num_inference_steps: int, latents: torch.Tensor, **_: Any
    ) -> SimpleNamespace:
        prompts = [prompt] * len(latents) if isinstance(prompt, str) else prompt
        for step in range(num_inference_steps):
            latents = self.unet.forward(latents, step)
        told = torch.tensor([zlib.crc32(one.encode()) / 2**32 for one in prompts])
        images = (latents[:, :3] + told[:, None, None, None]).sigmoid()
        larger = torch.nn.functional.interpolate(images, scale_factor=self.vae_scale_factor)
        return SimpleNamespace(images=larger.permute(0, 2, 3, 1).numpy())

    @staticmethod
    def _step(latents: torch.Tensor, step: int) -> torch.Tensor:
        time.sleep(STEP_SECONDS)
        return 0.99 * latents


def load_stub(model: Any, variant: Any, device: Any, *, scheduler: str | None = None) -> Any:
    """In the place of `latentcy.pipelines.loading.load_pipeline`."""
    pipeline = StubPipeline()
    if variant.prepare is not None:
        variant.prepare(pipeline)
    return pipeline


def take_the_place_of_loading() -> None:
    """In this process, every case that is opened from now on is the stub."""
    stub = types.ModuleType("latentcy.pipelines.loading")
    stub.load_pipeline = load_stub  # type: ignore[attr-defined]
    sys.modules[stub.__name__] = stub


def stub_file(path: Path, text: str) -> Path:
    """A variants file of the stub with `text`; it stands by itself, in any process."""
    source = Path(__file__).read_text(encoding="utf-8")
    path.write_text(f"{source}\n\ntake_the_place_of_loading()\n{text}", encoding="utf-8")
    return path
