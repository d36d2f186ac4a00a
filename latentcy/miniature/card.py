"""Measures the miniature for its model card: `python -m latentcy.miniature.card`.

Generated pictures of held-out captions are read by code; the scorer is tried on real held-out
scenes with one attribute of the caption changed, and on generated ones with captions shuffled.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentcy.core.errors import LatentcyError
from latentcy.measure.images.clip import ClipScorer
from latentcy.miniature.drawing import draw
from latentcy.miniature.reader import check
from latentcy.miniature.scorer import ATTRIBUTES
from latentcy.miniature.world import PLACES, Scene, change_one, held_out_scenes
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import workload
from latentcy.store.image_grid import grid

MODELS = (
    Variant("full", "The full UNet and autoencoder."),
    Variant("full-tiny-vae", "The tiny autoencoder.", vae="tiny"),
    Variant("distilled", "The distilled UNet.", unet="distilled"),
    Variant("distilled-tiny-vae", "Both.", unet="distilled", vae="tiny"),
)
# Pairs of each family, so that rare attributes (place, side) are measured too.
FAMILIES = {"thing": 40, "sided thing": 32, "pair": 32, "vase": 24, "place": 32}
_POOL_SEED, _NOISE_SEED, _SHUFFLE_SEED = 31, 9000, 5


@dataclass(frozen=True)
class PromptSeed:
    """One prompt-seed pair: a held-out scene, the caption given as prompt, and a seed."""

    scene: Scene
    prompt: str
    seed: int


def held_out_pairs(share: float = 1.0) -> list[PromptSeed]:
    """Prompt-seed pairs whose captions no training step saw, `share` of each family's number.

    Captions of places are few, so some of them come again with another seed.
    """
    pools: dict[str, list[tuple[Scene, str]]] = defaultdict(list)
    for scene, caption in held_out_scenes(900, _POOL_SEED):
        pools[_family(scene)].append((scene, caption))
    pairs: list[Any] = []
    for family, count in FAMILIES.items():
        pool = pools[family]
        for index in range(max(1, round(count * share))):
            scene, caption = pool[index % len(pool)]
            pairs.append(PromptSeed(scene, caption, _NOISE_SEED + len(pairs)))
    return pairs


def generate(variant: Variant, pairs: Sequence[PromptSeed], device: str = "cpu") -> np.ndarray:
    """The miniature's pictures of the pairs, float32 [n, 64, 64, 3], 50 DDIM steps."""
    place = find_device(device)
    model, _ = resolve_model("miniature", place)
    work = workload("single", height=64, width=64, guidance_scale=model.guidance_scale)
    sampler = open_sampler(model, variant, place, work)
    try:
        prompts, seeds = [pair.prompt for pair in pairs], [pair.seed for pair in pairs]
        return sampler.observe(prompts, seeds, batch=16).images
    finally:
        sampler.close()


def attributes(images: np.ndarray, pairs: Sequence[PromptSeed]) -> dict[str, tuple[int, int]]:
    """How many of the stated attributes are in the pictures: name to (right, asked)."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for image, pair in zip(images, pairs, strict=True):
        pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        for name, holds in check(pixels, pair.scene).items():
            key = name.split()[-1]  # both things of a pair count
            asked[key] += 1
            right[key] += holds
    return {name: (right[name], asked[name]) for name in sorted(asked)}


def against_shuffled(scorer: ClipScorer, images: np.ndarray, prompts: Sequence[str]) -> dict:
    """Mean score of the right and of a shuffled prompt, and how often the right one wins."""
    others = _shuffled(prompts)
    right, wrong = scorer.scores(images, prompts), scorer.scores(images, others)
    return {
        "right": float(right.mean()),
        "shuffled": float(wrong.mean()),
        "wins": float((right > wrong).mean()),
    }


def against_changed(scorer: ClipScorer, count: int = 150) -> dict[str, float]:
    """On real held-out scenes: how often the caption beats one with a single attribute changed."""
    rng = random.Random(_SHUFFLE_SEED)
    wins: dict[str, list[bool]] = {attribute: [] for attribute in ATTRIBUTES}
    for scene, _ in held_out_scenes(900, _POOL_SEED + 1):
        image = draw(scene, rng)[None].astype(np.float32) / 255
        score = None
        for attribute, seen in wins.items():
            changed = change_one(scene, attribute, rng) if len(seen) < count else None
            if changed is None:
                continue
            score = scorer.scores(image, [scene.caption])[0] if score is None else score
            seen.append(bool(score > scorer.scores(image, [changed.caption])[0]))
        if all(len(seen) >= count for seen in wins.values()):
            break
    return {attribute: sum(seen) / len(seen) for attribute, seen in wins.items()}


def measure(out: Path, share: float = 1.0) -> dict:
    """Everything the model card states, also written as `card.json` and `card.png` under `out`."""
    pairs = held_out_pairs(share)
    prompts = [pair.prompt for pair in pairs]
    model, _ = resolve_model("miniature", find_device("cpu"))
    scorer = ClipScorer(model.scorer)
    figures: dict = {"pairs": len(pairs), "scorer": against_changed(scorer), "models": {}}
    rows = {}
    for variant in MODELS:
        print(f"{variant.name}: {len(pairs)} pictures", flush=True)
        images = generate(variant, pairs)
        read = attributes(images, pairs)
        right, asked = (sum(values) for values in zip(*read.values(), strict=True))
        figures["models"][variant.name] = {
            "checks": asked,
            "right": right / asked,
            "attributes": {name: f"{good} of {of}" for name, (good, of) in read.items()},
            "clip": against_shuffled(scorer, images, prompts),
        }
        rows[variant.name] = images
    chosen = np.linspace(0, len(pairs) - 1, 8).round().astype(int)
    picture = grid(
        {name: images[chosen] for name, images in rows.items()},
        [prompts[index] for index in chosen],
    )
    out.mkdir(parents=True, exist_ok=True)
    picture.save(out / "card.png")
    (out / "card.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m latentcy.miniature.card", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("miniature-work") / "card")
    parser.add_argument("--share", type=float, default=1.0, help="share of the pairs (default 1)")
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(measure(options.out, options.share), indent=2))
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _family(scene: Scene) -> str:
    thing = scene.things[0]
    if len(scene.things) == 2:
        return "pair"
    if scene.place in PLACES:
        return "place"
    if thing.kind == "vase":
        return "vase"
    return "sided thing" if "side" in thing.stated else "thing"


def _shuffled(prompts: Sequence[str]) -> list[str]:
    """Each prompt replaced by another one; equal captions never stand for each other."""
    rng = random.Random(_SHUFFLE_SEED)
    others = []
    for prompt in prompts:
        bare = prompt.removeprefix("a photo of ")
        others.append(rng.choice([p for p in prompts if p.removeprefix("a photo of ") != bare]))
    return others


if __name__ == "__main__":
    sys.exit(main())
