"""What one more run may be, going by the runs before it. Numbers in, numbers out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit


def prediction_bound(past: Sequence[float], *, confidence: float = 0.99) -> float:
    """Upper bound that one more value stays under with the given confidence.

    mean + t(n - 1; confidence) * s * sqrt(1 + 1/n), for values drawn from one normal distribution
    of which neither mean nor spread is known: G. J. Hahn, W. Q. Meeker, "Statistical Intervals: A
    Guide for Practitioners", Wiley 1991, chapter 4. Times are skewed to the right; hand in their
    logarithms.

    Args:
        past: values of past runs, in any unit; the bound is in the same.
        confidence: of the one-sided bound, between 0.5 and 1.

    Raises:
        ValueError: fewer than two values, one that is not finite, or no such confidence.
    """
    if len(past) < 2:
        raise ValueError(f"{len(past)} past values, of which two are the least")
    if not all(math.isfinite(value) for value in past):
        raise ValueError("a past value is not finite")
    if not 0.5 <= confidence < 1:
        raise ValueError(f"a confidence of {confidence}")
    n = len(past)
    spread = statistics.stdev(past) * math.sqrt(1 + 1 / n)
    return statistics.fmean(past) + float(stdtrit(n - 1, confidence)) * spread
