"""How large a change of level is: pure numbers in and out."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

CONFIDENCE = 0.95

_MOST = 1000  # numbers of a side that are compared in pairs; the nearest ones to the change


def level_ratio(
    before: np.ndarray, after: np.ndarray, inflation: float = 1.0
) -> tuple[float, float, float]:
    """Ratio of the levels after over before, with bounds.

    The median of all pairs' ratios (Hodges & Lehmann 1963) with the bounds that the rank-sum test
    gives (Hollander, Wolfe & Chicken 2014, section 4.3), widened by `inflation` for numbers that
    are correlated. Numbers that are not all above zero are compared by differences, over the median
    before; NaN where that is zero.

    Args:
        before, after: float [n], finite, at least one each.
    """
    before, after = before[-_MOST:], after[:_MOST]
    logs = bool((before > 0).all() and (after > 0).all())
    left, right = (np.log(before), np.log(after)) if logs else (before, after)
    shifts = np.sort((right[:, None] - left[None, :]).ravel())
    n, m = left.size, right.size
    deviate = float(special.ndtri(0.5 + CONFIDENCE / 2)) * inflation
    outside = n * m / 2 - deviate * math.sqrt(n * m * (n + m + 1) / 12)
    rank = max(0, math.floor(outside) - 1)
    three = (float(np.median(shifts)), float(shifts[rank]), float(shifts[-1 - rank]))
    if logs:
        return tuple(math.exp(min(one, 700.0)) for one in three)  # type: ignore[return-value]
    level = float(np.median(before))
    if level == 0:
        return math.nan, math.nan, math.nan
    middle, *bounds = (1 + one / level for one in three)
    return middle, min(bounds), max(bounds)
