"""What a variant's own `build` is told: where its pipeline is to run, and in which arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Where a pipeline is built for.

    Attributes:
        device: "cpu", "cuda:0" and so on, as torch takes it.
        dtype: "float32", "float16" or "bfloat16", as the variant states it for this device.
        model: the folder of the model's weights; of synthetic ones their name.
        height, width: pixels of the images that will be asked for.
    """

    device: str
    dtype: str
    model: str
    height: int
    width: int
