"""Where a row of numbers changes its level: the method, pure numbers in and out.

Numbers are replaced by their normal scores (van der Waerden), so that no outlier counts for much
and the odds under "nothing changed" do not depend on how the noise is distributed. Every split of
every seeded interval (Kovács, Bühlmann, Li & Munk 2023, "Seeded binary segmentation") is tested by
the two-sample t of these scores; the best split of the most certain interval is a change, and each
side is searched again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from latentcy.stats.changepoint_location import LEAST_SIDE, difference_scale, likeliest_place

ALPHA = 0.02  # chance that a series in which nothing changes shows a change
NEIGHBOURS = 3  # on either side, against which a spike is seen
SPIKE = 4.0  # robust standard deviations
LAGS = (3, 4, 5, 6)  # over which correlation is read

# Seeded intervals overlap, and what a narrow one finds must hold between its neighbours too: their
# number overstates how many independent looks there are. With this share of it, no more series
# without a change show one than `ALPHA` says (`python -m latentcy.studies.changepoints.trials`).
INDEPENDENT = 0.05
LEAST_LOOKS = 2.0  # short series, where the t of so few scores flatters


@dataclass(frozen=True)
class Split:
    """A change of level: `index` is the first number after it.

    `p` is the chance that numbers without a change show one as marked, anywhere in the series.
    """

    index: int
    p: float


def find_splits(values: np.ndarray, alpha: float = ALPHA) -> tuple[Split, ...]:
    """Changes of level in `values`, float [n], finite, in order of time.

    Args:
        values: in order of time.
        alpha: chance of any change found where there is none.
    """
    kept = np.flatnonzero(~spikes(values))
    numbers = values[kept]
    if numbers.size < 2 * LEAST_SIDE:
        return ()
    inflation = correlation_inflation(numbers)
    looks = max(LEAST_LOOKS, INDEPENDENT * len(_seeds(numbers.size)))
    found = _search(numbers, 0, numbers.size, inflation, alpha / looks)
    found = _place(numbers, _settle(numbers, found, inflation, alpha / looks))
    return tuple(Split(int(kept[index]), min(1.0, p * looks)) for index, p in found)


def spikes(values: np.ndarray) -> np.ndarray:
    """True where a number stands apart from the median of its neighbours, bool [n].

    Three in a row at most: a fourth is a majority among seven neighbours, hence a new level. The
    scale is that of differences of neighbours, which a change of level hardly touches.
    """
    n = values.size
    width = 2 * NEIGHBOURS + 1
    if n < width:
        return np.zeros(n, bool)
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    middle = np.median(windows, axis=1)
    level = np.concatenate(
        [np.repeat(middle[0], NEIGHBOURS), middle, np.repeat(middle[-1], NEIGHBOURS)]
    )
    scale = difference_scale(values)
    if not scale > 0:
        return np.zeros(n, bool)
    return np.asarray(np.abs(values - level) > SPIKE * scale)


def correlation_inflation(values: np.ndarray) -> float:
    """How many times too certain a test is that takes correlated numbers as independent; >= 1.

    For noise in which each number takes up a share r of the one before (AR(1)), differences at
    long lags are 1 / (1 - r) times as wide, in variance, as those at lag one, and a mean's variance
    is (1 + r) / (1 - r) times that of independent numbers: twice the former, less one.
    """
    if values.size < 4 * max(LAGS):
        return 1.0
    near = _trimmed_variance(values, 1)
    if not near > 0:
        return 1.0
    far = float(np.mean([_trimmed_variance(values, lag) for lag in LAGS]))
    return math.sqrt(max(1.0, 2 * far / near - 1))


def scan_p(statistic: float, n: int) -> float:
    """Chance that the largest of the splits' normal deviates reaches `statistic`, two-sided.

    The tail of the maximum of a standardised CUSUM over splits LEAST_SIDE..n - LEAST_SIDE
    (Siegmund & Yakir 2007, "The Statistics of Gene Mapping"; as in Chen & Zhang 2015, "Graph-based
    change-point detection", Annals of Statistics 43, equation 3.5).
    """
    if statistic <= 0:
        return 1.0
    rates = _rates(n)
    overshoot = statistic * np.sqrt(2 * rates)
    half = overshoot / 2
    upper = special.ndtr(half)
    density = np.exp(-half * half / 2) / math.sqrt(2 * math.pi)
    nu = (2 / overshoot) * (upper - 0.5) / (half * upper + density)
    tail = math.exp(-statistic * statistic / 2) / math.sqrt(2 * math.pi)
    single = 2 * special.ndtr(-statistic)
    return float(min(1.0, max(single, 2 * statistic * tail * float(rates @ nu))))


def best_split(values: np.ndarray, inflation: float = 1.0) -> tuple[int, float]:
    """The split that divides `values` most certainly, and its normal deviate."""
    n = values.size
    scores = normal_scores(values)
    left = np.arange(LEAST_SIDE, n - LEAST_SIDE + 1)
    sums = np.cumsum(scores)[left - 1]
    variance = left * (n - left) / (n * (n - 1)) * float(scores @ scores)
    z = np.abs(sums) / np.sqrt(variance)
    square = np.minimum(z * z, (n - 1) * (1 - 1e-12))
    t = np.sqrt(square * (n - 2) / (n - 1 - square))
    place = int(np.argmax(t))
    return int(left[place]), _normal_deviate(float(t[place]), n - 2) / inflation


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks, sum 0, float [n].

    Ties are broken by a fixed order drawn at random: the odds stay exact, and one number that
    differs among equal ones is a spike and not a proof.
    """
    order = np.lexsort((_tie_order(values.size), values))
    scores = np.empty(values.size)
    scores[order] = _quantiles(values.size)
    return scores


def _search(
    values: np.ndarray, start: int, stop: int, inflation: float, level: float
) -> list[tuple[int, float]]:
    """Splits of values[start:stop] with their p, by the most certain interval first."""
    best: tuple[float, int] | None = None
    for low, high in _seeds(stop - start):
        piece = values[start + low : start + high]
        index, deviate = best_split(piece, inflation)
        p = scan_p(deviate, piece.size)
        if p <= level and (best is None or p < best[0]):
            best = (p, start + low + index)
    if best is None:
        return []
    p, index = best
    return [
        *_search(values, start, index, inflation, level),
        (index, p),
        *_search(values, index, stop, inflation, level),
    ]


def _settle(
    values: np.ndarray, found: list[tuple[int, float]], inflation: float, level: float
) -> list[tuple[int, float]]:
    """Moves each split to the best place between its neighbours, and drops what no longer holds."""
    while found:
        edges = [0, *(index for index, _ in found), values.size]
        settled = []
        for number in range(len(found)):
            low, high = edges[number], edges[number + 2]
            place, deviate = best_split(values[low:high], inflation)
            settled.append((low + place, scan_p(deviate, high - low)))
        weakest = max(settled, key=lambda one: one[1])
        if weakest[1] <= level:
            return settled
        found = [one for one in settled if one is not weakest]
    return found


def _place(values: np.ndarray, found: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Puts each split where the numbers themselves say, since ranks tell large steps from small
    ones only by their order."""
    edges = [0, *(index for index, _ in found), values.size]
    placed = []
    for number, (index, p) in enumerate(found):
        low, high = edges[number], edges[number + 2]
        placed.append((low + likeliest_place(values[low:high], index - low), p))
    return placed


@lru_cache(maxsize=256)
def _seeds(n: int) -> tuple[tuple[int, int], ...]:
    """Seeded intervals of 0..n: lengths fall by the root of two, neighbours overlap by half."""
    least = 2 * LEAST_SIDE
    if n < least:
        return ()
    seeds = {(0, n)}
    length = float(n)
    while length >= least:
        size = math.ceil(length)
        count = 2 * math.ceil(n / length) - 1
        for start in np.linspace(0, n - size, count).astype(int):
            seeds.add((int(start), int(start) + size))
        length /= math.sqrt(2)
    return tuple(sorted(seeds))


@lru_cache(maxsize=4096)
def _rates(n: int) -> np.ndarray:
    left = np.arange(LEAST_SIDE, n - LEAST_SIDE + 1, dtype=float)
    return n / (2 * left * (n - left))


@lru_cache(maxsize=4096)
def _quantiles(n: int) -> np.ndarray:
    return np.asarray(special.ndtri(np.arange(1, n + 1) / (n + 1)))


@lru_cache(maxsize=4096)
def _tie_order(n: int) -> np.ndarray:
    return np.random.default_rng(n).permutation(n)


def _normal_deviate(t: float, freedom: int) -> float:
    """The normal deviate with the tail of Student's t."""
    tail = special.stdtr(freedom, -t)
    return float(-special.ndtri(tail)) if tail > 1e-300 else 37.0


def _trimmed_variance(values: np.ndarray, lag: int) -> float:
    """Variance of differences at a lag; those across a large change of level are left out."""
    sizes = np.abs(values[lag:] - values[:-lag])
    limit = 3 * 1.4826 * float(np.median(sizes))
    return float(np.mean(sizes[sizes <= limit] ** 2))
