"""Pairs: a candidate's and its reference's times, next to each other, in a balanced order."""

from __future__ import annotations

import random
from collections.abc import Sequence
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

    def split(self, sizes: Sequence[int]) -> tuple[Pairs, ...]:
        """The same in parts of so many pairs each, one after the other."""
        parts, start = [], 0
        for size in sizes:
            part = slice(start, start + size)
            parts.append(
                Pairs(
                    self.reference[part],
                    self.candidate[part],
                    self.reference_first[part],
                    self.seed,
                )
            )
            start += size
        return tuple(parts)


def order(pairs: int, seed: int) -> tuple[bool, ...]:
    """For each pair whether the reference runs first: half of them, an odd one by lot, shuffled."""
    chance = random.Random(seed)
    first = [True] * (pairs // 2) + [False] * (pairs // 2)
    first += [chance.random() < 0.5] * (pairs % 2)
    chance.shuffle(first)
    return tuple(first)
