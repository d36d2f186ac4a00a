"""Where a change of level most likely is, and where it may be: pure numbers in and out."""

from __future__ import annotations

import math

import numpy as np

LEAST_SIDE = 5  # runs on either side of a change: fewer are as likely a spell of outliers
CONFIDENCE = 0.95

# Deviance of a place's likelihood below that of the best one, within which the true place is with
# 95 % (Hansen 2000, "Sample splitting and threshold estimation", Econometrica 68, theorem 1:
# -2 ln(1 - sqrt(0.95))). For small changes of level; larger ones are placed more surely.
_DEVIANCE = -2 * math.log(1 - math.sqrt(CONFIDENCE))

_FAR = 3.0  # robust standard deviations beyond a level, from which on a number counts no more


def likeliest_place(values: np.ndarray, index: int) -> int:
    """The place of the change near `index`, by the levels on either side of it."""
    places, fit = _fit(values, index, 1.0)
    return int(places[np.argmax(fit)]) if fit.any() else index


def place_bounds(values: np.ndarray, index: int, inflation: float = 1.0) -> tuple[int, int]:
    """The first and last place in `values` where the change at `index` may be as well.

    `inflation` is that of `latentcy.stats.changepoints.correlation_inflation`.
    """
    places, fit = _fit(values, index, inflation)
    likely = places[fit >= fit.max(initial=0.0) - _DEVIANCE] if fit.any() else places[:0]
    return int(likely.min(initial=index)), int(likely.max(initial=index))


def difference_scale(values: np.ndarray, lag: int = 1) -> float:
    """Standard deviation of the noise, from the median of absolute differences at a lag.

    1.4826 makes the median absolute deviation that of a normal distribution, the root of 2 a
    difference's deviation that of one number.
    """
    return float(1.4826 / math.sqrt(2) * np.median(np.abs(values[lag:] - values[:-lag])))


def _fit(values: np.ndarray, index: int, inflation: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of a change, and twice the log likelihood of each, up to a constant.

    All zero where the numbers have no noise to measure it by.
    """
    places = np.arange(LEAST_SIDE, values.size - LEAST_SIDE + 1)
    scale = difference_scale(values) * inflation
    if not scale > 0:
        return places, np.zeros(places.size)
    before, after = np.median(values[:index]), np.median(values[index:])
    low, high = sorted((before, after))
    held = np.clip(values, low - _FAR * scale, high + _FAR * scale)
    gain = ((held - after) ** 2 - (held - before) ** 2) / scale**2
    return places, np.cumsum(gain)[places - 1]
