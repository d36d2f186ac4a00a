"""Runs for the report's tests, made up: as many cases and prompts as asked for, with images."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentcy.core.costs import Calls, Component, Costs, Flops, Memory, PeakFlops
from latentcy.core.pairs import Pairs, order
from latentcy.core.record import Record
from latentcy.core.verdict import Verdict
from latentcy.gates.speed import compare
from latentcy.report.html import Change, Point, Series
from latentcy.store.results import SCHEMA

VARIANTS = (
    "baseline", "tf32", "fp16", "bf16", "combined", "channels-last", "compile", "tiny-vae",
    "distilled", "distilled-tiny-vae",
)  # fmt: skip
GROUPS = ("precision", "distillation")
ENVIRONMENT = {
    "python": "3.11.7",
    "os": "Linux-6.1-x86_64",
    "device": "NVIDIA H200",
    "torch": "2.13.0+cu130",
    "diffusers": "0.42.1",
}
SSIM = "SSIM 0.9012 to the reference over 64 images (least 0.7120), below the floor of 0.98"


def record(index: int, *, failed: bool = False, pairs: int = 20, **changed: Any) -> Record:
    """The i-th case of a run: its pairs, costs and verdicts are plausible, and always the same."""
    chance = random.Random(index)
    group, variant = GROUPS[index // 10 % 2], VARIANTS[index % 10] + "x" * (index // 20)
    ratio = 1.0 if variant == "baseline" else 0.45 + 0.6 * chance.random()
    reference = tuple(1.6 * chance.lognormvariate(0, 0.012) for _ in range(pairs))
    own = tuple(ratio * one * chance.lognormvariate(0, 0.012) for one in reference)
    seconds = sorted(own)[pairs // 2]
    stages = {"text_encoding": 0.01, "denoising": seconds - 0.13, "decoding": 0.12}
    unsure = index % 5 == 4
    verdicts = (
        Verdict("black images", "passed", "64 images, none black, flat or non-finite"),
        Verdict("latency", "passed", f"{seconds:.3f} s: 1.2 % slower than stored (10 % allowed)"),
        Verdict(
            "memory",
            "inconclusive" if unsure else "passed",
            "no baseline is stored for it on this device (--benchmark-record stores one)"
            if unsure
            else "2.1 GiB, 0.4 % more than stored (10 % allowed)",
        ),
        Verdict("SSIM", "failed", SSIM)
        if failed
        else Verdict("SSIM", "passed", "SSIM 0.9931 to the reference, at least 0.98"),
    )
    values: dict[str, Any] = {
        "case": f"sd15/{group}/{variant}",
        "model": "sd15",
        "group": group,
        "variant": variant,
        "changes": f"The {variant} recipe, and nothing else.",
        "device": ENVIRONMENT["device"],
        "seconds": seconds,
        "rounds": own,
        "speedup": sorted(reference)[pairs // 2] / seconds,
        "pairs": Pairs(reference, own, order(pairs, index), index),
        "paired_with": "baseline",
        "comparison": compare(reference, own, 0.01),
        "published_seconds": 3.51 if variant == "fp16" else None,
        "published_speedup": 1.5 if variant == "fp16" else None,
        "peak_bytes": int((2 + chance.random()) * 2**30),
        "stages": stages,
        "costs": Costs(
            Calls(3.1, seconds * 1.4, seconds),
            stages,
            Flops(10**10, 1.6e12, 2 * 10**12, 50),
            PeakFlops("float16", False, 7e14, 8192),
            Memory(2 * 2**30, 3 * 2**30, 2**30, 2**30, None),
            (Component("unet", 860_000_000, 1_720_000_000, ("float16",)),),
        ),
        "clip": 26 + chance.random(),
        "ssim": None if variant == "baseline" else 0.9 if failed else 0.985 + chance.random() / 80,
        "verdicts": verdicts,
        "environment": ENVIRONMENT,
    }
    return Record(**{**values, **changed})


def write_run(
    folder: Path, records: Sequence[Record], *, prompts: Sequence[str] = (), **about: Any
) -> Path:
    """A run.json of these records in `folder`; `about` are other keys of its "about"."""
    folder.mkdir(parents=True, exist_ok=True)
    run: dict[str, Any] = {
        "schema": SCHEMA,
        "model": "Model sd15: named, from the hub's cache.",
        "environment": ENVIRONMENT,
        "records": [one.to_dict() for one in records],
        "about": {
            "id": "5f0c",
            "started": "2026-11-23T17:44:02+00:00",
            "commit": "b98f799",
            "branch": "main",
            "command": [],
            "prompts": list(prompts),
            "seeds": list(range(2023, 2023 + len(prompts))),
            **about,
        },
    }
    path = folder / "run.json"
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


def write_images(folder: Path, label: str, count: int, *, side: int = 64, moved: int = 0) -> None:
    """`count` pictures of shapes before a gradient; with `moved` they are a little different."""
    place = folder / "images" / label
    place.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(_picture(index, side, moved)).save(place / f"{index:03}.png")


def write_large_run(folder: Path, *, cases: int = 20, prompts: int = 64, side: int = 64) -> Path:
    """A run with images of every case, in which the third case and the ninth fail."""
    records = [record(index, failed=index % 10 in (2, 8)) for index in range(cases)]
    texts = [
        f"a photograph of {index + 1} shapes before a wall at noon" for index in range(prompts)
    ]
    for index, one in enumerate(records):
        moved = 4 if index % 10 in (2, 8) else 0
        write_images(folder, f"{one.group}-{one.variant}", prompts, side=side, moved=moved)
    return write_run(folder, records, prompts=texts)


def trend(runs: int = 60) -> tuple[Series, ...]:
    """One series with a change and a new machine in it, and one without."""
    chance = random.Random(7)
    points = []
    for index in range(runs):
        level = 1.0 if index < runs // 3 else 1.04 if index < 2 * runs // 3 else 0.8
        value = level * chance.lognormvariate(0, 0.008)
        day = f"2026-{1 + index // 28:02}-{1 + index % 28:02}T03:00:00"
        points.append(Point(day, value, f"run-{index}", f"{index * 7919:07x}"))
    change = Change(runs // 3, 1.04, 0.998)
    return (
        Series("sd15/precision/bf16", "memory", tuple(points[:5]), unit="bytes"),
        Series("sd15/precision/fp16", "latency", tuple(points), (change,), (2 * runs // 3,), "s"),
    )


def _picture(index: int, side: int, moved: int) -> np.ndarray:
    """uint8 [side, side, 3]."""
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    noise = np.random.default_rng(index).normal(0, 6, (side, side, 3))
    shade = np.stack([across * 200, down * 180, (across + down) * (40 + index % 60)], axis=-1)
    radius = 0.15 + 0.02 * (index % 7)
    centre = 0.35 + 0.01 * moved + 0.05 * (index % 6)
    disc = (across - centre) ** 2 + (down - 0.5) ** 2 < radius**2
    shade[disc] = ((index * 67) % 256, (index * 29 + 90) % 256, 230)
    return np.clip(shade + noise, 0, 255).astype(np.uint8)
