"""The place where a generation's first non-finite value was born, and how it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class OverflowOrigin:
    """The place where a generation's first NaN or infinity was born.

    Attributes:
        component: the name of one, "scheduler", or "pipeline" for what happens
            between them.
        module: the module's dotted name inside the component; "" is the component itself.
        dtype: of the non-finite tensor, as "float16".
        call: which call of that module it was, from 1.
        magnitude: largest finite magnitude among the module's inputs.
        fp32_magnitude: largest magnitude of the same module's output when repeated in fp32;
            None where that could not be repeated.
        born: "in the module" | "between its parts" (an operation of the module's own forward) |
            "before the module" (outside any module) | "in its weights".
        stage: "while encoding the prompt", "at denoising step 2 of 4 (timestep 501)", "while
            decoding" or "after decoding"; "" where it is not known.
        amount: how much of the tensor was not finite, as "NaN in 3 of 4096 values".
        largest: largest magnitude in any module before it; NaN where nothing was seen before.
        largest_in: that module, as "in decoder.conv_in"; "into" where it was an input.
        rows: of the tensor's first dimension that were not finite.
        of_rows: how many rows there were.
    """

    component: str
    module: str
    dtype: str
    call: int
    magnitude: float
    fp32_magnitude: float | None = None
    born: str = "in the module"
    stage: str = ""
    amount: str = ""
    largest: float = math.nan
    largest_in: str = ""
    rows: tuple[int, ...] = ()
    of_rows: int = 0

    def spares(self, image: int, images: int) -> bool:
        """Whether the value was born in other images of a batch of `images` than this one.

        False as well where the rows are not the images': with guidance there are two for each.
        """
        known = self.of_rows in (images, 2 * images)
        return known and image not in {row % images for row in self.rows}

    @property
    def sentence(self) -> str:
        """Say in one sentence where, in which dtype, and from what magnitude."""
        side = "before" if self.born == "before the module" else "in"
        stage = f" {self.stage}" if self.stage else ""
        text = (
            f"the first non-finite value{f' ({self.amount})' if self.amount else ''} "
            f"was born in {self.component}, {side} {self.module or 'its own forward'}, "
            f"in {self.dtype}, on call {self.call}{stage}, "
            f"from inputs of magnitude up to {self.magnitude:.4g}"
        )
        if self.born == "in its weights":
            return f"{text}: its weights hold NaN or infinity"
        if self.born == "between its parts":
            text = f"{text}, between its parts"
        limit = torch.finfo(getattr(torch, self.dtype)).max
        if self.fp32_magnitude is not None and self.fp32_magnitude > limit:
            text = (
                f"{text}: float32 reaches {self.fp32_magnitude:.4g} there, "
                f"{self.dtype} ends at {limit:.5g}"
            )
        if math.isfinite(self.largest):
            text = f"{text}; the largest magnitude before it: {self.largest:.5g} {self.largest_in}"
        return text
