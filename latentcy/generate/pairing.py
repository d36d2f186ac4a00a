"""Pairs: a candidate and its reference timed next to each other, in balanced, shuffled order.

Alternation takes drift out of the ratio, balance takes out what running first or second costs (a
fixed order biases even the median: ifc-lite#4288), and shuffling keeps the order out of step with
anything periodic.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pairs:
    """Seconds of reference and candidate, pair by pair, and how they were ordered."""

    reference: tuple[float, ...]
    candidate: tuple[float, ...]
    reference_first: tuple[bool, ...]
    seed: int  # of the order

    def __len__(self) -> int:
        return len(self.reference)

    @property
    def sides(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The seconds of the reference and those of the candidate."""
        return self.reference, self.candidate

    def blocks(self, pairs: int) -> tuple[Pairs, ...]:
        """The same in blocks of `pairs` pairs each; what is left over makes no block."""
        whole = range(0, len(self) - pairs + 1, pairs)
        return tuple(
            Pairs(
                self.reference[start : start + pairs],
                self.candidate[start : start + pairs],
                self.reference_first[start : start + pairs],
                self.seed,
            )
            for start in whole
        )


def order(pairs: int, seed: int) -> tuple[bool, ...]:
    """For each pair whether the reference runs first: half of them, an odd one by lot, shuffled."""
    chance = random.Random(seed)
    first = [True] * (pairs // 2) + [False] * (pairs // 2)
    first += [chance.random() < 0.5] * (pairs % 2)
    chance.shuffle(first)
    return tuple(first)


class Pairing:
    """Runs the reference before or after each of a candidate's rounds, whoever times those.

    Args:
        reference: generates once and returns its seconds.
        pairs: how many rounds there will be, in each block.
        seed: of the order.
        blocks: how often; each block is balanced in itself.
    """

    def __init__(
        self, reference: Callable[[], float], *, pairs: int, seed: int, blocks: int = 1
    ) -> None:
        self._time_reference = reference
        self._order = tuple(
            first for block in range(blocks) for first in order(pairs, seed + block)
        )
        self._seed = seed
        self._reference: list[float] = []
        self._round = 0

    @property
    def rounds(self) -> int:
        """How many rounds of the candidate are to be timed."""
        return len(self._order)

    def before(self) -> None:
        """To be called before each round of the candidate."""
        if self._round < len(self._order) and self._order[self._round]:
            self._reference.append(self._time_reference())

    def after(self) -> None:
        """To be called after each round of the candidate."""
        if self._round < len(self._order) and not self._order[self._round]:
            self._reference.append(self._time_reference())
        self._round += 1

    def pairs(self, candidate: Sequence[float]) -> Pairs:
        """The pairs, given the candidate's seconds of each round; a round cut off is left out."""
        whole = min(len(self._reference), len(candidate))
        return Pairs(
            reference=tuple(self._reference[:whole]),
            candidate=tuple(candidate[:whole]),
            reference_first=self._order[:whole],
            seed=self._seed,
        )


def time_pairs(
    reference: Callable[[], float], candidate: Callable[[], float], *, pairs: int, seed: int
) -> Pairs:
    """Times both `pairs` times; each callable generates once and returns its seconds."""
    pairing = Pairing(reference, pairs=pairs, seed=seed)
    seconds = []
    for _ in range(pairs):
        pairing.before()
        seconds.append(candidate())
        pairing.after()
    return pairing.pairs(seconds)
