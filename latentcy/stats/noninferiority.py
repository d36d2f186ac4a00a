"""Non-inferiority of paired differences: pure numbers in, a decision and its words out.

A difference is the candidate's value less the reference's, for one prompt and one starting noise.
Its mean has bounds that hold with 99 % each (Student's t). A candidate is no worse if the bound on
the side of a loss lies within the tolerance; that nothing was found is never a pass. Two-sided it
is Schuirmann's pair of one-sided tests (1987, J. Pharmacokinet. Biopharm. 15).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from latentcy.core.metrics import BY_NAME, Better
from latentcy.stats.numbers import Numbers

CONFIDENCE = 0.99  # of each bound

SHOWN = 3  # prompts named in one clause
SHOWN_LIMITS = 2  # clauses of one sentence

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass(frozen=True)
class Paired:
    """The mean of n differences, and bounds that hold with `confidence` each.

    With NaN among them mean and bounds are NaN; with one difference the bounds are infinite.
    """

    mean: float
    low: float
    high: float
    n: int
    n_nan: int  # values that are not finite
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class Decision:
    """What a tolerance says to differences.

    Attributes:
        status: "passed" | "failed" | "inconclusive".
        paired: mean and bounds.
        why: why it is inconclusive, or what is no number; else empty.
    """

    status: str
    paired: Paired
    why: str = ""


def paired(differences: Numbers, *, confidence: float = CONFIDENCE) -> Paired:
    """Mean and bounds of paired differences. Raises ValueError where there are none."""
    values = np.asarray(differences, float)
    if values.ndim != 1 or not values.size:
        raise ValueError("no differences")
    n, n_nan = values.size, int((~np.isfinite(values)).sum())
    if n_nan:
        return Paired(math.nan, math.nan, math.nan, n, n_nan, confidence)
    if (values == values[0]).all():  # a mean would round, and a spread come out above 0
        mean, error = float(values[0]), 0.0
    else:
        mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    if n == 1:
        return Paired(mean, -math.inf, math.inf, n, 0, confidence)
    half = error * float(distributions.t.ppf(confidence, n - 1))
    return Paired(mean, mean - half, mean + half, n, 0, confidence)


def non_inferior(differences: Numbers, tolerance: float, better: Better) -> Decision:
    """Do the differences stay within the tolerance, as far as they can tell?

    Args:
        differences: candidate less reference, one for each prompt.
        tolerance: 0 or more: how far the mean may move in the direction of a loss.
        better: "higher" (a loss is downwards), "lower" (upwards), "same" (either way).

    Returns:
        passed where every bound on a side of loss lies within the tolerance; failed where the mean
        itself lies beyond it, a difference is not finite, or the tolerance is none; inconclusive in
        between, and for one difference, which has no interval, where it lies within.
    """
    values = np.asarray(differences, float)
    if not values.size:
        nothing = Paired(math.nan, math.nan, math.nan, 0, 0)
        return Decision(INCONCLUSIVE, nothing, "no image was compared")
    seen = paired(values)
    if seen.n_nan:
        return Decision(FAILED, seen, f"not a number for {seen.n_nan} of {seen.n} images")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        return Decision(FAILED, seen, f"the tolerance is {tolerance}, which allows nothing")
    if not _within(seen.mean, seen.mean, tolerance, better):
        return Decision(FAILED, seen)
    if seen.n == 1:
        return Decision(INCONCLUSIVE, seen, "one prompt, so no interval")
    if _within(seen.low, seen.high, tolerance, better):
        return Decision(PASSED, seen)
    return Decision(INCONCLUSIVE, seen, "more images decide (--images)")


@dataclass(frozen=True)
class Part:
    """What one limit says of one metric: a status, a clause, and the share of the limit used."""

    status: str
    words: str
    used: float


def judge_mean(name: str, values: np.ndarray, tolerance: float, *, where: str = "") -> Part:
    """The mean of a metric's paired values, with its interval. `where` follows its name."""
    metric = BY_NAME[name]
    losses = np.asarray(values, float) - metric.equal
    decision = non_inferior(losses, tolerance, metric.better)
    seen = decision.paired
    if seen.n_nan or not seen.n:
        return Part(decision.status, f"{name} is {decision.why}", math.inf)
    words = f"{name}{where} {_value(name, seen.mean)} on average over {seen.n} images"
    if seen.n > 1:
        words += f" ({_value(name, seen.low)} to {_value(name, seen.high)} with 99 %)"
    words += f", {_allowed(name, tolerance)}"
    if decision.status == FAILED and seen.n > 1:
        words += f"; most in {_worst(name, losses)}"
    if decision.why:
        words += f"; {decision.why}"
    furthest = {"higher": -seen.mean, "lower": seen.mean, "same": abs(seen.mean)}[metric.better]
    return Part(decision.status, words, furthest / tolerance if tolerance > 0 else math.inf)


def judge_each(
    name: str, values: np.ndarray, tolerance: float, *, where: Sequence[str] = ()
) -> Part:
    """Every image's paired value on its own. `where` says where in each image, if anywhere."""
    losses = np.asarray(values, float) - BY_NAME[name].equal
    sizes = lost(name, losses)
    kept = sizes <= tolerance  # False for what is not a number
    n, broken = len(losses), int((~kept).sum())
    if not n:
        return Part(INCONCLUSIVE, f"{name}: no image was compared", math.inf)
    n_nan = int((~np.isfinite(losses)).sum())
    if n_nan:
        return Part(FAILED, f"{name} is not a number for {n_nan} of {n} images", math.inf)
    first = int(np.argmax(sizes))
    place = f" in {where[first]}" if len(where) else ""
    words = f"{name} {_value(name, losses[first])}{place} in the image of prompt {first + 1}"
    words += f", {_allowed(name, tolerance)} in any one image"
    if broken > 1:
        words += f"; {broken} of {n} images are beyond it, most {_worst(name, losses)}"
    used = float(sizes[first]) / tolerance if tolerance > 0 else math.inf
    return Part(PASSED if broken == 0 else FAILED, words, used)


def combine(parts: Sequence[Part]) -> tuple[str, str]:
    """The worst status, and one sentence: the parts that have it, those furthest out first."""
    if not parts:
        return INCONCLUSIVE, "nothing was compared"
    status = max((part.status for part in parts), key=(PASSED, INCONCLUSIVE, FAILED).index)
    having = sorted((part for part in parts if part.status == status), key=lambda part: -part.used)
    if status == PASSED:
        kept = "the limit is kept" if len(parts) == 1 else f"all {len(parts)} limits are kept"
        return status, f"{kept}; nearest: {having[0].words}"
    rest = len(having) - SHOWN_LIMITS
    more = f"; and {rest} more limit{'s' * (rest > 1)}" if rest > 0 else ""
    return status, "; ".join(part.words for part in having[:SHOWN_LIMITS]) + more


def lost(name: str, losses: np.ndarray) -> np.ndarray:
    """How far differences from equal images lie in the direction of a loss; below 0 for a gain."""
    losses = np.asarray(losses, float)
    better = BY_NAME[name].better
    return -losses if better == "higher" else losses if better == "lower" else np.abs(losses)


def _worst(name: str, losses: np.ndarray) -> str:
    order = np.argsort(-lost(name, losses), kind="stable")[:SHOWN]
    each = [f"{index + 1} ({_value(name, losses[index])})" for index in order]
    return f"prompt{'s' * (len(each) > 1)} {', '.join(each)}"


def _value(name: str, loss: float) -> str:
    metric = BY_NAME[name]
    if metric.equal == 1:
        return f"{1 + loss:.4f}"
    return f"{loss:.4f}" if metric.better == "lower" else f"{loss:+.4f}"


def _allowed(name: str, tolerance: float) -> str:
    metric = BY_NAME[name]
    if metric.equal == 1:
        return f"at least {1 - tolerance:.4g} asked for"
    either = " either way" if metric.better == "same" else ""
    return f"{tolerance:.4g}{either} allowed"


def _within(low: float, high: float, tolerance: float, better: Better) -> bool:
    """Written so that it holds for a pass: NaN never does."""
    not_below, not_above = low >= -tolerance, high <= tolerance
    if better == "higher":
        return not_below
    if better == "lower":
        return not_above
    return not_below and not_above
