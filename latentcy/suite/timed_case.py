"""One case while it is being timed, and what stands around it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from latentcy.measure.machine_speed import Yardstick
from latentcy.measure.pairing import Pairing
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.conditions import Reading
from latentcy.pipelines.devices.device import is_out_of_memory
from latentcy.pipelines.sampler import Sampler
from latentcy.suite.pair_budget import Plan
from latentcy.suite.references import TimedGenerator

STEADY = 0.05  # share by which the yardstick may change during a case and still correct it


@dataclass
class TimedCase:
    """One case about to be timed: how often, and what runs around each round.

    Attributes:
        inside: seconds of the timed rounds that were spent in the pipeline itself.
        stopped: why it was ended before it was known or all pairs were timed; "" where it was not.
    """

    case: Case
    sampler: Sampler
    pairing: Pairing | None
    reference: TimedGenerator | None
    plan: Plan
    yardstick: Yardstick
    yardstick_before: float | None  # seconds
    conditions_before: Reading
    started: float = field(default_factory=time.perf_counter)
    inside: float = 0.0
    stopped: str = ""
    _done: int = 0
    _mark: float = 0.0

    @property
    def rounds(self) -> int:
        """How many rounds of the candidate are timed at most."""
        return self.pairing.rounds if self.pairing else self.plan.pairs

    @property
    def fixed_rounds(self) -> int:
        """As many as a second look takes, where they are not timed until it is known."""
        looks = self.plan.looks.pairs
        return looks[1] if len(looks) > 1 else self.rounds

    def is_over(self, seconds: Sequence[float]) -> bool:
        """Whether no further round is due, given the seconds of those so far."""
        if self.pairing is None:
            return len(seconds) >= self.plan.pairs
        if self.pairing.is_over(seconds):
            return True
        allowed = self.plan.seconds
        if seconds and allowed is not None and time.perf_counter() - self.started >= allowed:
            many = f"{len(seconds)} of at most {self.rounds} pairs"
            self.stopped = f"there was time for {many} (--minutes, --budget)"
        return bool(self.stopped)

    def before(self) -> None:
        """Before each round of the candidate: half of the references."""
        if self.pairing is not None:
            self.pairing.before()
        self._mark = self.sampler.generating_seconds

    def after(self, *_: Any) -> None:
        """After each round of the candidate: the other half."""
        if self._done < self.rounds:  # a profiled call beyond the rounds is none of them
            self.inside += self.sampler.generating_seconds - self._mark
        self._done += 1
        if self.pairing is not None:
            self.pairing.after()

    def close(self) -> None:
        """Lets the reference and the yardstick go; the case itself stays loaded."""
        reference, self.reference = self.reference, None
        self.yardstick.close()
        if reference is not None:
            reference.close()


def yardstick_seconds(yardstick: Yardstick) -> float | None:
    """None where the device has no room for it beside the case."""
    try:
        return yardstick.seconds()
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def steady_mean(before: float | None, after: float | None) -> tuple[float | None, str]:
    """The yardstick's seconds around a case, or None and what became of the machine meanwhile.

    A yardstick that changed would itself put into the latency what it is there to take out.
    """
    if before is None or after is None:
        return None, ""
    if abs(after / before - 1) <= STEADY:
        return (before + after) / 2, ""
    way = "slower" if after > before else "faster"
    share = max(before, after) / min(before, after) - 1
    return None, f"the machine's yardstick became {share:.0%} {way} during the case"
