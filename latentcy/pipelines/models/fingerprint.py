"""Which weights exactly: a digest of a case's own, so that no checkpoint is taken for another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.models.weights import fetch
from latentcy.pipelines.models.weights_source import Weights
from latentcy.pipelines.variants import Variant

_BLOCK = 2**16  # bytes
_BLOCKS = 16  # that are read of each file of weights, evenly spaced, its header among them


def weights_identity(model: Model, variant: Variant) -> str:
    """ "hub:1f3a..." : the source, and a digest of the parts that the variant runs.

    Of each file its size, its first bytes (a safetensors header names every tensor with dtype and
    shape) and evenly spaced blocks are read, a megabyte at most: a retrained checkpoint differs in
    all of them, and gigabytes need not be read before each run. Names and places do not count.

    Synthetic weights are known by their seed and configuration. Raises LatentcyError where a part
    is not here.
    """
    if model.source == "synthetic":
        return f"synthetic:{model.pipeline.revision}"
    digest = hashlib.sha256()
    for weights, part in _parts(model, variant):
        folder = fetch(weights, download=False) / (part or "")
        for file in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("config.json")):
            digest.update(f"{part}/{file.name}:{file.stat().st_size};".encode())
            for block in _sample(file):
                digest.update(block)
    return f"{model.source}:{digest.hexdigest()[:16]}"


def _parts(model: Model, variant: Variant) -> Iterator[tuple[Weights, str]]:
    """Each part's weights, and its folder in them ("" where they are the part)."""
    family = model.family
    for part in family.text_encoders:
        yield model.pipeline, part
    if variant.is_distilled and model.distilled is not None:
        yield model.distilled, ""
    else:
        yield model.pipeline, family.denoiser
    if variant.is_tiny and model.tiny is not None:
        yield model.tiny, ""
    else:
        yield model.pipeline, family.decoder


def _sample(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as content:
        if size <= _BLOCK * _BLOCKS:
            yield content.read()
            return
        for number in range(_BLOCKS):
            content.seek((size - _BLOCK) * number // (_BLOCKS - 1))
            yield content.read(_BLOCK)
