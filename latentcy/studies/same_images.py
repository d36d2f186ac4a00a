"""How often `assert_same_images` fails healthy images, and finds damaged ones, on the miniature.

`python -m latentcy.studies.same_images` draws 192 images as fp32 does, again by healthy changes,
and again with one attention head dead; then it compares sixteen of them at a time, 200 times for
each change, and prints the table of docs/own-repository.md. It takes four minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentcy.faults.changes import attentions
from latentcy.gates.black_images import image_verdict
from latentcy.gates.same_images import same_images_verdict
from latentcy.gates.tolerances import SAME_IMAGES
from latentcy.measure.images.differences import ImageDifferences, image_differences
from latentcy.measure.images.health import look
from latentcy.pipelines.devices.device import Device, find_device
from latentcy.pipelines.families import denoiser_of
from latentcy.pipelines.loading import load_pipeline
from latentcy.pipelines.models.catalog import MINIATURE
from latentcy.pipelines.optimizations.recipes import eager_attention
from latentcy.pipelines.prompts import PromptSet, chosen_prompts
from latentcy.pipelines.variants.variant import Variant

POOL, AT_ONCE, TRIALS, STEPS = 192, 16, 200, 25
SEED = 2023


@dataclass(frozen=True)
class Row:
    """A change: what it did to the images, and how often they were failed.

    Attributes:
        change: what was changed.
        like: what the images were to be like.
        differences: of all images of the pool.
        failed: of TRIALS comparisons of AT_ONCE images each.
    """

    change: str
    like: str
    differences: ImageDifferences
    failed: int

    def __str__(self) -> str:
        seen = self.differences
        return (
            f"| {self.change} | {self.like} | {seen.typical:.2g} | {float(seen.ssim.min()):.4f} "
            f"| {100 * seen.shift:+.2f} % | {self.failed} of {TRIALS} |"
        )


class Drawing:
    """Draws the pool's images with a pipeline."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._pool: PromptSet = chosen_prompts(MINIATURE, None, POOL)

    def load(self, **fields: Any) -> Any:
        """The miniature's pipeline, of a variant with these fields."""
        return load_pipeline(MINIATURE, Variant("drawn", "", **fields), self.device)

    def images(self, pipeline: Any, *, batch: int = AT_ONCE, count: int = POOL) -> np.ndarray:
        """The first images of the pool, float32 [count, 64, 64, 3]."""
        parts = []
        for start in range(0, count, batch):
            part = slice(start, min(count, start + batch))
            seeds = self._pool.seeds[part]
            drawn = pipeline(
                list(self._pool.prompts[part]),
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                num_inference_steps=STEPS,
                guidance_scale=MINIATURE.guidance_scale,
                height=MINIATURE.height,
                width=MINIATURE.width,
                output_type="np",
            )
            parts.append(drawn.images.astype(np.float32))
        return np.concatenate(parts)


def healthy_rows(drawing: Drawing, base: np.ndarray) -> list[Row]:
    """Changes after which nothing is wrong."""
    exact = drawing.load()
    rows = [_row("batches of 5", "float32", drawing.images(exact, batch=5), base)]
    eager_attention(exact)
    rows.append(_row("eager attention", "float32", drawing.images(exact), base))
    layout = drawing.load()
    denoiser_of(layout).to(memory_format=torch.channels_last)
    rows.append(_row("channels last", "float32", drawing.images(layout), base))
    half = drawing.load(dtype="bfloat16", cpu_dtype="bfloat16")
    rounded = drawing.images(half)
    rows.append(_row("bf16", "bfloat16", rounded, base))
    return rows


def damaged_rows(base: np.ndarray, like: str) -> list[Row]:
    """Damage that is done to images."""
    damage: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "a shift of one pixel": lambda x: np.roll(x, 1, axis=2),
        "2 % dimmer": lambda x: np.asarray(x * 0.98, dtype=np.float32),
        "one black image in sixteen": lambda x: _one(x, lambda image: image * 0),
        "one flat image in sixteen": lambda x: _one(x, lambda image: image * 0 + image.mean()),
        "one image of noise in sixteen": lambda x: _one(x, _noise),
    }
    return [_row(name, like, change(base), base) for name, change in damage.items()]


def dead_head_row(drawing: Drawing, base: np.ndarray) -> Row:
    """Of all attention heads, dead one after the other in fp32, the one that is seen least."""
    pipeline = drawing.load()
    rows = []
    for attention in attentions(denoiser_of(pipeline)):
        weight = attention.to_out[0].weight
        width = weight.shape[1] // attention.heads
        for head in range(attention.heads):
            kept = weight.detach().clone()
            with torch.no_grad():
                weight[:, head * width : (head + 1) * width] = 0
            images = drawing.images(pipeline, count=2 * AT_ONCE)
            with torch.no_grad():
                weight.copy_(kept)
            rows.append(_row("", "float32", images, base[: len(images)]))
    least = min(rows, key=lambda row: (row.failed, row.differences.typical))
    return replace(least, change=f"one dead attention head, the least seen of {len(rows)}")


def _row(change: str, like: str, images: np.ndarray, base: np.ndarray) -> Row:
    differences, health = image_differences(images, base), look(images)
    chance = np.random.default_rng(SEED)
    failed = 0
    for trial in range(TRIALS):
        which = (
            chance.choice(len(base), AT_ONCE, replace=False)
            if not change.startswith("one ")
            else np.arange(AT_ONCE) + AT_ONCE * (trial % (len(base) // AT_ONCE))
        )
        part = ImageDifferences(
            differences.rms[which], differences.ssim[which], differences.brightness[which]
        )
        broken = image_verdict([health[each] for each in which]).status == "failed"
        failed += broken or same_images_verdict(part, SAME_IMAGES[like]).status == "failed"
    return Row(change, like, differences, failed)


def _one(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The first of every sixteen changed."""
    changed = images.copy()
    for place in range(0, len(images), AT_ONCE):
        changed[place] = change(changed[place])
    return changed


def _noise(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(SEED).random(image.shape).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; with a file's name, into that file."""
    name = "python -m latentcy.studies.same_images"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("--out", type=Path, help="file for the table")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    drawing, started = Drawing(find_device("cpu")), time.perf_counter()
    base = drawing.images(drawing.load())
    rows = healthy_rows(drawing, base)
    for like in ("float32", "bfloat16"):
        rows += damaged_rows(base, like)
    rows.append(dead_head_row(drawing, base))
    lines = [
        "| change | like | median difference | least SSIM | brightness | failed |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(str, rows),
    ]
    print("\n".join(lines))
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
