"""The method's numbers: pure functions on paired times, checked against scipy and textbooks.

A pair's value is log(candidate seconds / reference seconds): 0 where both are as fast, 0.0296 where
the candidate is 3 % slower. Nothing here knows what was timed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats as distributions

from latentcy.stats.numbers import Numbers


def log_ratios(reference: Numbers, candidate: Numbers) -> np.ndarray:
    """log(candidate / reference) of each pair, float64 [n].

    Raises ValueError where the numbers of times differ, or a time is not finite and above 0.
    """
    left, right = np.asarray(reference, float), np.asarray(candidate, float)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"{left.size} reference times for {right.size} candidate times")
    if not (np.isfinite(left) & np.isfinite(right) & (left > 0) & (right > 0)).all():
        raise ValueError("a time is zero, negative or not a number")
    return np.asarray(np.log(right / left))


def signed_rank_p(values: Numbers, shift: float, alternative: Literal["greater", "less"]) -> float:
    """One-sided p-value of Wilcoxon's signed-rank test that `values` are centred on `shift`.

    "greater" is small where they lie above the shift, "less" where they lie below it. Exact: the
    distribution over all 2^n equally likely signs, ties at their mean rank, values equal to the
    shift left out (Wilcoxon 1945; Hollander, Wolfe & Chicken 2014, section 3.1). 1.0 where nothing
    is left to rank.
    """
    moved = np.asarray(values, float) - shift
    moved = moved[moved != 0]
    if not moved.size:
        return 1.0
    doubled = np.rint(2 * distributions.rankdata(np.abs(moved))).astype(int)
    chances = _sign_sums(doubled)
    positive = int(doubled[moved > 0].sum())
    tail = chances[positive:] if alternative == "greater" else chances[: positive + 1]
    return float(min(1.0, tail.sum()))


def hodges_lehmann(values: Numbers) -> float:
    """The median of the means of all pairs of values, each with itself too (Walsh averages).

    Hodges & Lehmann 1963. It moves little when a few values are far out.
    """
    return float(np.median(_walsh_averages(values)))


def interval(values: Numbers, confidence: float) -> tuple[float, float]:
    """Bounds of the centre, each of which holds with probability `confidence` or more.

    The values of `shift` that `signed_rank_p` does not reject at 1 - confidence on either side
    (Hollander, Wolfe & Chicken 2014, section 3.3), so that bounds and test agree. Infinite where
    there are too few values for the confidence: 7 are the least for 0.99.
    """
    averages = np.sort(_walsh_averages(values))
    chances = np.cumsum(_sign_sums(2 * np.arange(1, len(values) + 1))[::2])
    outside = int(np.searchsorted(chances, 1 - confidence, side="right"))
    if outside == 0:
        return -math.inf, math.inf
    return float(averages[outside - 1]), float(averages[-outside])


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for being several, so that any false rejection stays below the level.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6.
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for place, (name, p_value) in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p_value))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def least_pairs(confidence: float, cases: int = 1) -> int:
    """The fewest pairs from which anything can be decided: 7 for 0.99 and a single case.

    With n pairs no exact p-value is below 2^-n, which Holm multiplies by the number of cases.
    """
    return math.ceil(math.log2(max(1, cases) / (1 - confidence)) - 1e-9)


def pairs_needed(pilot: Sequence[float], half_width: float, confidence: float) -> int:
    """How many pairs give bounds within `half_width` (in log) of the centre, judged by a pilot.

    n = (z s / w)^2 / (3 / pi): the normal quantile, the upper 90 % bound of the standard deviation
    by the pilot's chi-squared, and the signed-rank test's efficiency for normal values (Hollander,
    Wolfe & Chicken 2014, section 3.11). The pilot takes no part in the decision, so that looking at
    it costs no error (the idea of Stein 1945, Ann. Math. Statist. 16).
    """
    values = np.asarray(pilot, float)
    if values.size < 2 or not half_width > 0:
        raise ValueError("a pilot has at least two pairs, and a half-width is above 0")
    freedom = values.size - 1
    spread = values.std(ddof=1) * math.sqrt(freedom / distributions.chi2.ppf(0.1, freedom))
    needed = (distributions.norm.ppf(confidence) * spread / half_width) ** 2 * math.pi / 3
    return max(least_pairs(confidence), math.ceil(float(needed)))


def proportion(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a rate (Clopper & Pearson 1934, Biometrika 26)."""
    bounds = distributions.binomtest(hits, trials).proportion_ci(confidence, method="exact")
    return float(bounds.low), float(bounds.high)


def _walsh_averages(values: Numbers) -> np.ndarray:
    each = np.asarray(values, float)
    first, second = np.triu_indices(each.size)
    return np.asarray((each[first] + each[second]) / 2)


def _sign_sums(weights: np.ndarray) -> np.ndarray:
    """The chance of each sum of the weights whose fair coin fell on heads, [sum + 1]."""
    chances = np.zeros(int(weights.sum()) + 1)
    chances[0] = 1.0
    for weight in weights:
        heads = np.zeros_like(chances)
        heads[weight:] = chances[: chances.size - weight]
        chances = (chances + heads) / 2
    return chances
