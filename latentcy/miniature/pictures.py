"""The training pictures: drawn once from a seed and kept in the work folder."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentcy.miniature.drawing import draw
from latentcy.miniature.world import Scene, training_scenes

PICTURE_SEED = 20_000


@dataclass(frozen=True)
class Pictures:
    """Captioned pictures: `pixels` uint8 [n, 3, 64, 64]; `scenes` and `captions` of length n."""

    pixels: torch.Tensor
    scenes: list[Scene]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def training_pictures(count: int, work: Path, seed: int = PICTURE_SEED) -> Pictures:
    """`count` pictures whose captions are not held out; the pixels are cached under `work`."""
    items = list(training_scenes(count, seed))
    cache = work / f"pictures-{seed}-{count}.npy"
    if not cache.exists():
        rng = random.Random(seed + 1)
        pixels = np.stack([draw(scene, rng) for scene, _ in items])
        np.save(cache, pixels.transpose(0, 3, 1, 2))
    pixels = torch.from_numpy(np.load(cache))
    return Pictures(pixels, [scene for scene, _ in items], [caption for _, caption in items])


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pixels as float32 in -1..1, the range the autoencoder works in."""
    return pixels.float() / 127.5 - 1.0
