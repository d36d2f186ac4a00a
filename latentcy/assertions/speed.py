"""An assertion on speed: timed in pairs, until it is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from latentcy.assertions.outcome import hold
from latentcy.core.comparison import Comparison
from latentcy.core.errors import LatentcyError
from latentcy.core.pairs import Pairs
from latentcy.core.verdict import Verdict
from latentcy.gates.speed import CONFIDENCE, compare, is_decided, speed_verdicts
from latentcy.measure.pairing import Pairing
from latentcy.stats.looks import looks_for

__tracebackhide__ = True  # pytest shows the line of the test

WARM_UP = 2  # calls of each before anything is timed


def assert_no_slower(
    candidate: Callable[[], Any],
    reference: Callable[[], Any],
    *,
    tolerance: float = 0.01,
    seconds: float = 0.0,
    order_seed: int = 2023,
    strict: bool = False,
) -> Verdict:
    """The candidate's calls take no more time than the reference's, but for a tolerance.

    Both are called twice to warm up, and then timed next to each other, in balanced, shuffled
    order, at most 80 times each, and no longer than it takes to know. Waiting for a CUDA device is
    part of a call's time.

    Args:
        candidate, reference: called without arguments, such as `lambda: pipeline(**call)`.
        tolerance: share by which the candidate may be slower, 0 or more.
        seconds: after which no further pair is begun; 0 for no limit.
        order_seed: of the order in pairs.
        strict: whether a difference that could not be told fails as well.

    Returns:
        The verdict: passed where it is no slower beyond doubt (99 %), else inconclusive.

    Raises:
        AssertionError: it is slower beyond doubt, with by how much.
        LatentcyError: what is given cannot be timed.
    """
    for name, one in (("candidate", candidate), ("reference", reference)):
        if not callable(one):
            raise LatentcyError(
                found=f"{name}={one!r}",
                expected="a function without arguments that generates once",
                do=f"wrap the call: {name}=lambda: pipeline(prompt)",
            )
    for name, value in (("tolerance", tolerance), ("seconds", seconds)):
        if not (math.isfinite(value) and value >= 0):
            raise LatentcyError(
                found=f"{name}={value}", expected="a number of 0 or more", do="correct it"
            )
    for one in (reference, candidate):
        for _ in range(WARM_UP):
            _timed(one)
    return hold(_verdict(candidate, reference, tolerance, seconds, order_seed), strict=strict)


def _verdict(
    candidate: Callable[[], Any],
    reference: Callable[[], Any],
    tolerance: float,
    seconds: float,
    order_seed: int,
) -> Verdict:
    looks = looks_for(1, CONFIDENCE)

    def compared(pairs: Pairs) -> Comparison:
        return compare(*pairs.sides, tolerance, looks=looks.count)

    pairing = Pairing(
        lambda: _timed(reference),
        increments=looks.increments,
        seed=order_seed,
        is_known=lambda pairs: is_decided(compared(pairs)),
    )
    timed: list[float] = []
    started = time.perf_counter()
    while not pairing.is_over(timed):
        if seconds and timed and time.perf_counter() - started >= seconds:
            break
        pairing.before()
        timed.append(_timed(candidate))
        pairing.after()
    found = compared(pairing.pairs(timed))
    (verdict,) = speed_verdicts({"candidate": found}, gate="no slower").values()
    return verdict


def _timed(call: Callable[[], Any]) -> float:
    """Seconds of one call, until the device is done."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
