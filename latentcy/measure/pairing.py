"""Pairs: a candidate and its reference timed next to each other, in balanced, shuffled order.

Alternation takes drift out of the ratio, balance takes out what running first or second costs (a
fixed order biases even the median: ifc-lite#4288), and shuffling keeps the order out of step with
anything periodic.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from latentcy.core.pairs import Pairs, order


class Pairing:
    """Runs the reference before or after each of a candidate's rounds, whoever times those.

    Args:
        reference: generates once and returns its seconds.
        increments: pairs from look to look; the order is balanced within each.
        seed: of the order.
        trials: how often all of that; each trial is ordered by a seed of its own.
        is_known: asked after each increment with the trial's pairs so far; where it says so the
            trial ends there.
    """

    def __init__(
        self,
        reference: Callable[[], float],
        *,
        increments: Sequence[int],
        seed: int,
        trials: int = 1,
        is_known: Callable[[Pairs], bool] = lambda pairs: False,
    ) -> None:
        self._time_reference, self._is_known = reference, is_known
        self._looks = tuple(itertools.accumulate(increments))
        self._increments, self._seed, self._trials = tuple(increments), seed, trials
        self._starts = [0]  # of each trial, in rounds
        self._order = list(self._trial_order(0))
        self._reference: list[float] = []
        self._round = 0
        self._over = False

    @property
    def rounds(self) -> int:
        """How many rounds of the candidate are timed at most."""
        return self._looks[-1] * self._trials

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pairs of each trial so far."""
        begun = self._round > self._starts[-1]
        ends = [*self._starts, self._round] if begun else self._starts
        return tuple(end - start for start, end in itertools.pairwise(ends))

    def is_over(self, candidate: Sequence[float]) -> bool:
        """Whether no further round is due, given the candidate's seconds of all rounds so far.

        To be asked before each round.
        """
        pairs = len(candidate) - self._starts[-1]
        if self._over or pairs not in self._looks:
            return self._over
        trial = self.pairs(candidate).split([self._starts[-1], pairs])[-1]
        if pairs == self._looks[-1] or self._is_known(trial):
            self._end_trial(len(candidate))
        return self._over

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
            reference_first=tuple(self._order[:whole]),
            seed=self._seed,
        )

    def _end_trial(self, rounds: int) -> None:
        if len(self._starts) == self._trials:
            self._over = True
            return
        del self._order[rounds:]
        self._order += self._trial_order(len(self._starts))
        self._starts.append(rounds)

    def _trial_order(self, trial: int) -> Iterator[bool]:
        parts = enumerate(self._increments)
        return itertools.chain.from_iterable(
            order(pairs, self._seed + trial + _FAR * part) for part, pairs in parts
        )


_FAR = 1_000_003  # between the seeds of one trial's increments


def time_pairs(
    reference: Callable[[], float],
    candidate: Callable[[], float],
    *,
    increments: Sequence[int],
    seed: int,
    is_known: Callable[[Pairs], bool] = lambda pairs: False,
) -> Pairs:
    """Times both until it is known, at most all increments; each callable returns its seconds."""
    pairing = Pairing(reference, increments=increments, seed=seed, is_known=is_known)
    seconds: list[float] = []
    while not pairing.is_over(seconds):
        pairing.before()
        seconds.append(candidate())
        pairing.after()
    return pairing.pairs(seconds)
