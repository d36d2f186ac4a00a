"""Looks: after how many pairs a case is judged, so that it is timed until it is known. Pure.

A fixed number of pairs is too many for a quiet machine and too few for a noisy one. So a case is
looked at after 10, 20, 40 and 80 pairs, and timed no further once it is decided. Looking often
gives chance several tries, so each look decides at its share of the error: with L looks each bound
and each p-value is held to 1 - (1 - confidence) / L, and by the union bound (Bonferroni) the chance
that any look is wrong stays below 1 - confidence, however the looks depend on each other. Pocock's
boundary (1977, Biometrika 64) would be a little less strict, and holds for normal values only.

Cases are timed one after the other and judged together by Holm's correction, which rejects whatever
Bonferroni's does: a case that is decided at (1 - confidence) / (L x cases) stays decided, whatever
the others will show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentcy.stats.paired_tests import least_pairs

FIRST, MOST = 10, 80  # pairs of the first look and of the last
LOOKS = 4


@dataclass(frozen=True)
class Looks:
    """After how many pairs a case is judged, the last time at the most pairs that are timed.

    Attributes:
        pairs: rising; one number is a fixed number of pairs.
        cases: that are judged together.
    """

    pairs: tuple[int, ...]
    cases: int = 1

    @property
    def count(self) -> int:
        """How many looks there are at most: what p-values are multiplied with."""
        return len(self.pairs)

    @property
    def most(self) -> int:
        """Pairs of the last look."""
        return self.pairs[-1]

    @property
    def increments(self) -> tuple[int, ...]:
        """Pairs from look to look."""
        before = (0, *self.pairs)
        return tuple(now - then for then, now in zip(before, self.pairs, strict=False))

    def due(self, pairs: int) -> bool:
        """Whether the case is judged after so many pairs."""
        return pairs in self.pairs


def looks_for(cases: int, confidence: float) -> Looks:
    """The looks of a case that is judged together with others.

    The first one comes as soon as an exact p-value can be small enough (10 pairs for up to two
    cases, 12 for ten), each further one after twice as many pairs, the last after 80 at most. All
    are even, so that each increment holds either order as often.
    """
    least = least_pairs(look_confidence(confidence, LOOKS), cases)
    first = max(FIRST, least + least % 2)
    doubled = [first * 2**look for look in range(LOOKS)]
    pairs = sorted({min(each, max(MOST, first)) for each in doubled})
    return Looks(tuple(pairs), cases)


def look_confidence(confidence: float, looks: int) -> float:
    """The confidence of each of several looks that together hold with `confidence`."""
    if looks < 1 or not 0 < confidence < 1:
        raise ValueError(f"{looks} looks with a confidence of {confidence}")
    return 1 - (1 - confidence) / looks


def corrected(p_value: float, looks: int) -> float:
    """A p-value that was the smallest chance among so many looks; at most 1."""
    return min(1.0, p_value * looks) if math.isfinite(p_value) else 1.0
