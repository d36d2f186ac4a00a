"""A case's times against its reference's."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """A candidate's times against its reference's, pair by pair.

    Attributes:
        pairs: how many.
        tolerance: share by which the candidate may be slower.
        ratio: candidate over reference, by Hodges-Lehmann.
        low, high: its bounds, each held with probability `CONFIDENCE` at all looks together.
        p_slower: of the hypothesis that the candidate keeps the tolerance, corrected for the looks.
        p_not_slower: of the hypothesis that it does not, likewise.
        nothing: why nothing can be decided; "" where something can.
        looks: how often the case may have been judged (`latentcy.stats.looks`).
    """

    pairs: int
    tolerance: float
    ratio: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_slower: float = 1.0
    p_not_slower: float = 1.0
    nothing: str = ""
    looks: int = 1

    @property
    def size(self) -> str:
        """ "3.1 % slower (2.4 to 3.8 %)", or both directions where the interval holds zero."""
        if not math.isfinite(self.ratio):
            return "of unknown speed"
        low, high = (100 * (each - 1) for each in (self.low, self.high))
        if low < 0 < high:
            bounds = f"{-low:.2f} % faster to {high:.2f} % slower"
        else:
            near, far = sorted((abs(low), abs(high)))
            bounds = f"{near:.2f} to {far:.2f} %"
        way = "slower" if self.ratio >= 1 else "faster"
        return f"{100 * abs(self.ratio - 1):.2f} % {way} ({bounds})"
