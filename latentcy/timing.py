"""One case while it is being timed, and what stands around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentcy.case import Case
from latentcy.generate.conditions import Reading
from latentcy.generate.device import is_out_of_memory
from latentcy.generate.pairing import Pairing
from latentcy.generate.sampler import Sampler
from latentcy.generate.yardstick import Yardstick
from latentcy.references import Timed


@dataclass
class Timing:
    """One case about to be timed: how often, and what runs around each round."""

    case: Case
    sampler: Sampler
    pairing: Pairing | None
    reference: Timed | None
    rounds: int
    note: str
    yardstick: Yardstick
    yardstick_before: float | None  # seconds
    conditions_before: Reading
    started: float

    def before(self) -> None:
        """Before each round of the candidate: half of the references."""
        if self.pairing is not None:
            self.pairing.before()

    def after(self, *_: Any) -> None:
        """After each round of the candidate: the other half."""
        if self.pairing is not None:
            self.pairing.after()

    def let_go(self) -> None:
        """Closes the reference and the yardstick; the case itself stays loaded."""
        self.yardstick.close()
        if self.reference is not None:
            self.reference.close()


def yardstick_seconds(yardstick: Yardstick) -> float | None:
    """None where the device has no room for it beside the case."""
    try:
        return yardstick.seconds()
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def mean(before: float | None, after: float | None) -> float | None:
    """None where either is unknown."""
    return None if before is None or after is None else (before + after) / 2
