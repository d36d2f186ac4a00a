"""Rules that say "slower", ours and others', and how often each errs on the same timings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from latentcy.calibration.trials import Trial
from latentcy.judge.comparison import compare, speed_verdicts
from latentcy.judge.stats import hodges_lehmann, log_ratios, proportion
from latentcy.judge.verdicts import FAILED

Rule = Callable[[Sequence[float], Sequence[float]], bool]


def ours(tolerance: float) -> Rule:
    """The speed gate, of a single case, says failed."""

    def slower(reference: Sequence[float], candidate: Sequence[float]) -> bool:
        one = compare(reference, candidate, tolerance)
        return speed_verdicts({"case": one}, gate="speed")["case"].status == FAILED

    return slower


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


def rates(trials: Sequence[Trial], tolerance: float) -> tuple[Rate, ...]:
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
        name = f"pairs, {tolerance:.0%} allowed"
        hits = sum(ours(tolerance)(trials[i].reference, trials[i].candidate) for i in places)
        found.append(Rate(name, added, hits, len(places)))
        for name, rule in others.items():
            hits = sum(rule(trials[i].reference, trials[i].candidate) for i in places)
            found.append(Rate(name, added, hits, len(places)))
            if later:
                hits = sum(rule(trials[i - 1].reference, trials[i].candidate) for i in later)
                found.append(Rate(f"{name}, earlier run", added, hits, len(later)))
    return tuple(found)


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
