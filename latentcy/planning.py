"""How many pairs a case is given: as asked, or as a pilot and a budget say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentcy.judge.comparison import CONFIDENCE
from latentcy.judge.stats import least_pairs, pairs_needed

DEFAULT_PAIRS = 20
PILOT_PAIRS = 7
MOST_PAIRS = 200  # what a pilot may ask for where no budget ends it


@dataclass(frozen=True)
class Plan:
    """How many pairs are timed, and what the verdict has to say about that number."""

    pairs: int
    note: str = ""


@dataclass
class Budget:
    """Seconds for all timing of a run, shared out equally among the cases still to come."""

    seconds: float  # 0: no limit
    cases: int
    spent: float = 0.0

    def share(self) -> float | None:
        """Seconds that the next case may take; None without a limit."""
        if not self.seconds:
            return None
        return max(0.0, self.seconds - self.spent) / max(1, self.cases)

    def spend(self, seconds: float) -> None:
        """Books one case's timing."""
        self.spent += seconds
        self.cases -= 1


def plan_pairs(
    *,
    asked: int,
    precision: float,
    pilot: Sequence[float],
    pair_seconds: float,
    allowed_seconds: float | None,
    most: int = MOST_PAIRS,
) -> Plan:
    """Settle the number of pairs.

    Args:
        asked: pairs, where no precision is asked for.
        precision: half-width of the interval, as a share; 0 asks for none.
        pilot: log-ratios of the pilot's pairs; they decide nothing but the number.
        pair_seconds: that one pair takes.
        allowed_seconds: for this case, or None.
        most: pairs at most, where a precision is asked for.
    """
    wanted = pairs_needed(pilot, math.log1p(precision), CONFIDENCE) if precision else asked
    affordable = wanted
    if allowed_seconds is not None:
        affordable = math.floor(allowed_seconds / pair_seconds)
    elif precision:
        affordable = most
    if wanted <= affordable:
        return Plan(wanted)
    least = least_pairs(CONFIDENCE)
    if allowed_seconds is None:
        note = f"±{precision:.2%} would take {wanted} pairs, {most} are the most without --budget"
    elif affordable < least:
        note = (
            f"the budget leaves {allowed_seconds:.3g} s for {affordable} of {wanted} pairs "
            f"of {pair_seconds:.3g} s, {least} are the least"
        )
    else:
        note = f"the budget allowed {affordable} of {wanted} pairs"
    return Plan(max(1, affordable), note)
