"""Rules that say "slower", ours and others', and how often each errs on the same timings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from latentcy.core.verdict import FAILED, INCONCLUSIVE
from latentcy.gates.speed import compare, speed_verdicts
from latentcy.stats.paired_tests import hodges_lehmann, log_ratios, proportion
from latentcy.studies.speed_gate.trials import Trial

Rule = Callable[[Sequence[float], Sequence[float]], bool]


def ours(tolerance: float, *, looks: int = 1) -> Rule:
    """The speed gate, of a single case that is judged in so many looks, says failed."""
    return lambda reference, candidate: (
        status(reference, candidate, tolerance, looks=looks) == FAILED
    )


def status(
    reference: Sequence[float], candidate: Sequence[float], tolerance: float, *, looks: int = 1
) -> str:
    """The speed gate's verdict on a single case."""
    one = compare(reference, candidate, tolerance, looks=looks)
    return speed_verdicts({"case": one}, gate="speed")["case"].status


def mean_rule(share: float) -> Rule:
    """pytest-benchmark's --benchmark-compare-fail=mean:N%: the means differ by more."""

    def slower(reference: Sequence[float], candidate: Sequence[float]) -> bool:
        return bool(np.mean(candidate) > np.mean(reference) * (1 + share))

    return slower


def t_test(reference: Sequence[float], candidate: Sequence[float]) -> bool:
    """pyperf's `compare_to`: Student's two-sample t-test at 95 %, two-sided, and a larger mean.

    As documented by pyperf 2.10 ("pyperf compare_to": "a two-sided Student's two-sample t-test with
    a level of confidence of 95 %").
    """
    significant = distributions.ttest_ind(reference, candidate).pvalue <= 0.05
    return bool(significant and np.mean(candidate) > np.mean(reference))


@dataclass(frozen=True)
class Rate:
    """How often a rule said "slower" in the trials with one share of added work."""

    rule: str
    added: float
    hits: int
    trials: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The rate's exact 95 % interval."""
        return proportion(self.hits, self.trials)


def rates(trials: Sequence[Trial], tolerance: float, *, looks: int = 1) -> tuple[Rate, ...]:
    """Every rule on the same timings; the others also as they are used, against an earlier run.

    "earlier run" holds the candidate against the reference's times of the trial before, minutes or
    less ago, where a stored baseline would be days old.
    """
    others: dict[str, Rule] = {
        "mean:3%": mean_rule(0.03),
        "mean:5%": mean_rule(0.05),
        "t-test, 95 %": t_test,
    }
    found = []
    for added in sorted({trial.added for trial in trials}):
        places = [place for place, trial in enumerate(trials) if trial.added == added]
        later = [place for place in places if place > 0]
        name = f"pairs{' until it is known' * (looks > 1)}, {tolerance:.0%} allowed"
        rule = ours(tolerance, looks=looks)
        hits = sum(rule(trials[i].reference, trials[i].candidate) for i in places)
        found.append(Rate(name, added, hits, len(places)))
        for name, rule in others.items():
            hits = sum(rule(trials[i].reference, trials[i].candidate) for i in places)
            found.append(Rate(name, added, hits, len(places)))
            if later:
                hits = sum(rule(trials[i - 1].reference, trials[i].candidate) for i in later)
                found.append(Rate(f"{name}, earlier run", added, hits, len(later)))
    return tuple(found)


def left_open(trials: Sequence[Trial], tolerance: float, *, looks: int) -> tuple[Rate, ...]:
    """How often the speed gate said neither slower nor not slower, by share of added work."""
    found = []
    for added in sorted({trial.added for trial in trials}):
        own = [trial for trial in trials if trial.added == added]
        hits = sum(
            status(one.reference, one.candidate, tolerance, looks=looks) == INCONCLUSIVE
            for one in own
        )
        found.append(Rate("left open", added, hits, len(own)))
    return tuple(found)


def mean_pairs(trials: Sequence[Trial]) -> dict[float, float]:
    """Pairs that a trial took, by share of added work."""
    return {
        added: float(np.mean([len(one.candidate) for one in trials if one.added == added]))
        for added in sorted({trial.added for trial in trials})
    }


def real_sizes(trials: Sequence[Trial]) -> dict[float, float]:
    """What the added work really cost, by share: Hodges-Lehmann over the trials' own estimates."""
    sizes = {}
    for added in sorted({trial.added for trial in trials}):
        each = [
            hodges_lehmann(log_ratios(trial.reference, trial.candidate))
            for trial in trials
            if trial.added == added
        ]
        sizes[added] = float(np.expm1(hodges_lehmann(each)))
    return sizes
