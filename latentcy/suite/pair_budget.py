"""How many pairs a case is given: as asked, or as a pilot and a budget say."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latentcy.gates.speed import CONFIDENCE
from latentcy.stats.looks import Looks
from latentcy.stats.paired_tests import least_pairs, pairs_needed

PILOT_PAIRS = 7
MOST_PAIRS = 200  # what a pilot may ask for where no budget ends it


@dataclass(frozen=True)
class Plan:
    """How many pairs are timed, and what the verdict has to say about that number.

    Attributes:
        looks: after how many pairs it is judged; of a case that is timed alone, its calls.
        note: for the verdict.
        seconds: after which no further pair is begun; None for no such limit.
    """

    looks: Looks
    note: str = ""
    seconds: float | None = None

    @property
    def pairs(self) -> int:
        """At most."""
        return self.looks.most


class Budget:
    """Seconds for all timing of a run, shared out equally among the cases still to come.

    Args:
        seconds: 0 for no limit.
        cases: ids of those that will be timed in pairs.
    """

    def __init__(self, seconds: float, cases: Sequence[str] = ()) -> None:
        self._left, self._limited = seconds, seconds > 0
        self._waiting = set(cases)
        self._shares: dict[str, float] = {}
        self._since: float | None = None

    def share(self, case: str) -> float | None:
        """Seconds that are left of the case's share by now; None without a limit."""
        if not self._limited:
            return None
        if case not in self._shares:
            self._waiting.discard(case)
            self._shares[case] = max(0.0, self._left) / (len(self._waiting) + 1)
        elapsed = 0.0 if self._since is None else time.perf_counter() - self._since
        return max(0.0, self._shares[case] - elapsed)

    def spend(self, case: str, seconds: float) -> None:
        """Books seconds of a case's timing."""
        if self._limited:
            self.share(case)
            self._left -= seconds
            self._shares[case] -= seconds

    @contextlib.contextmanager
    def spending(self, case: str) -> Iterator[None]:
        """Books the block, however it ends."""
        self._since = started = time.perf_counter()
        try:
            yield
        finally:
            self._since = None
            self.spend(case, time.perf_counter() - started)


def plan_pairs(
    *,
    asked: int,
    precision: float,
    pilot: Sequence[float],
    pair_seconds: float,
    allowed_seconds: float | None,
    cases: int = 1,
    most: int = MOST_PAIRS,
) -> Plan:
    """Settle the number of pairs.

    Args:
        asked: pairs, where no precision is asked for.
        precision: half-width of the interval, as a share; 0 asks for none.
        pilot: log-ratios of the pilot's pairs; they decide nothing but the number.
        pair_seconds: that one pair takes.
        allowed_seconds: for this case, or None.
        cases: that will be judged together, each of which takes more pairs to decide.
        most: pairs at most, where a precision is asked for.
    """
    least = least_pairs(CONFIDENCE, cases)
    wanted = asked
    if precision:
        wanted = max(least, pairs_needed(pilot, math.log1p(precision), CONFIDENCE))
    affordable = wanted
    if allowed_seconds is not None:
        affordable = math.floor(allowed_seconds / pair_seconds)
    elif precision:
        affordable = most
    if wanted <= affordable:
        return Plan(Looks((wanted,)))
    if allowed_seconds is None:
        note = f"±{precision:.2%} would take {wanted} pairs, {most} are the most without --budget"
    elif affordable < least:
        note = (
            f"the budget leaves {allowed_seconds:.3g} s for {affordable} of {wanted} pairs "
            f"of {pair_seconds:.3g} s, {least} are the least (--budget)"
        )
    else:
        note = f"the budget allowed {affordable} of {wanted} pairs (--budget)"
    return Plan(Looks((max(1, affordable),)), note)
