"""`python -m latentcy.studies.speed_gate.simulation`: how often it errs in simulated noise.

Noise is normal in the log-ratio of a pair, and in a share of the pairs a neighbour takes a core
from one side, which that side alone pays for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.gates.speed import CONFIDENCE, compare, is_decided, speed_verdicts
from latentcy.stats.looks import Looks, looks_for

TOLERANCE = 0.01
TRIALS = 600
ADDED = (0.0, 0.03, 0.05)
SPELL = 0.10  # mean share of a generation's time that a spell adds, exponentially distributed


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a pair's log-ratio, and the share of pairs that hold a spell."""

    deviation: float
    spells: float

    def log_ratios(self, pairs: int, added: float, chance: np.random.Generator) -> np.ndarray:
        """Of candidates that are slower by the share `added`."""
        values = chance.normal(np.log1p(added), self.deviation, pairs)
        hit = chance.random(pairs) < self.spells
        side = np.where(chance.random(pairs) < 0.5, 1.0, -1.0)
        return values + hit * side * np.log1p(chance.exponential(SPELL, pairs))


NOISES = (Noise(0.006, 0.05), Noise(0.012, 0.10), Noise(0.02, 0.20))


@dataclass(frozen=True)
class Design:
    """Looks, and how many p-values and bounds are corrected for (normally as many)."""

    looks: Looks
    correction: int

    def without_correction(self) -> Design:
        """The same looks, each at the whole error: what must not be done."""
        return replace(self, correction=1)


def _design(looks: Looks) -> Design:
    return Design(looks, looks.count)


DESIGNS = {
    "20 pairs": _design(Looks((20,))),
    "until it is known": _design(looks_for(1, CONFIDENCE)),
}


@dataclass(frozen=True)
class Rates:
    """Shares of trials by verdict, and the pairs that a trial took on average."""

    slower: float
    not_slower: float
    mean_pairs: float

    @property
    def open(self) -> float:
        """Neither was shown."""
        return 1 - self.slower - self.not_slower


def simulate(
    design: Design, noise: Noise, *, added: float, trials: int = TRIALS, seed: int = 0
) -> Rates:
    """How often a case that is slower by `added` is said to be what, 1 % being allowed."""
    chance = np.random.default_rng(seed)
    ends = [_trial(design, noise, added, chance) for _ in range(trials)]
    statuses = [status for status, _ in ends]
    return Rates(
        slower=statuses.count(FAILED) / trials,
        not_slower=statuses.count(PASSED) / trials,
        mean_pairs=float(np.mean([pairs for _, pairs in ends])),
    )


def _trial(
    design: Design, noise: Noise, added: float, chance: np.random.Generator
) -> tuple[str, int]:
    """The verdict of one trial and its pairs."""
    ratios = np.exp(noise.log_ratios(design.looks.most, added, chance))
    reference = np.exp(1e-9 * chance.normal(size=design.looks.most))  # no clock stands still
    for pairs in design.looks.pairs:
        one = compare(
            reference[:pairs],
            reference[:pairs] * ratios[:pairs],
            TOLERANCE,
            looks=design.correction,
        )
        if is_decided(one):
            return speed_verdicts({"case": one})["case"].status, pairs
    return INCONCLUSIVE, design.looks.most


def table(trials: int, say: Callable[[str], None] = lambda line: None) -> str:
    """All designs in all noises, in Markdown."""
    heads = ["noise of a pair", "design", "nothing added: passed / open"]
    heads += [f"{share:.0%} found" for share in ADDED[1:]]
    heads += ["1 % added: slower / not slower", "mean pairs (0 / 3 / 5 %)"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for noise in NOISES:
        for name, design in DESIGNS.items():
            say(f"{noise}, {name}")
            found = [simulate(design, noise, added=share, trials=trials) for share in ADDED]
            edge = simulate(design, noise, added=TOLERANCE, trials=trials)
            cells = [f"{noise.deviation:.1%}, spells in {noise.spells:.0%}", name]
            cells.append(f"{found[0].not_slower:.1%} / {found[0].open:.1%}")
            cells += [f"{one.slower:.1%}" for one in found[1:]]
            cells.append(f"{edge.slower:.1%} / {edge.not_slower:.1%}")
            cells.append(" / ".join(f"{one.mean_pairs:.0f}" for one in found))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m latentcy.studies.speed_gate.simulation",
        description="How often each design of the speed gate errs, in simulated noise.",
    )
    parser.add_argument(
        "trials", type=int, nargs="?", default=TRIALS, help=f"of each cell (default: {TRIALS})"
    )
    asked = parser.parse_args(arguments)
    print(table(asked.trials, lambda line: print(line, file=sys.stderr, flush=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
