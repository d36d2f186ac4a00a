"""The speed gate on pairs: slower, not slower, or not known. Pure functions.

Not slower is a claim of its own (non-inferiority): it needs an interval that lies within the
tolerance, and is not what is left over when nothing was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from latentcy.core.comparison import Comparison
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.stats.looks import corrected, look_confidence
from latentcy.stats.numbers import Numbers
from latentcy.stats.paired_tests import (
    hodges_lehmann,
    holm,
    interval,
    least_pairs,
    log_ratios,
    proportion,
    signed_rank_p,
)

CONFIDENCE = 0.99  # of each bound, and of the decisions of a whole run
LEAST_TRIALS = 5  # of a self-check, before alarms among them are too many


def compare(
    reference: Numbers, candidate: Numbers, tolerance: float, *, looks: int = 1
) -> Comparison:
    """Compare seconds with seconds; `tolerance` is the share that is no slowdown yet.

    `looks` is how often these pairs are judged on their way to the last one, this one included.
    Anything from which no honest conclusion follows (too few pairs, times that are none, a clock
    that stands still) comes back with `nothing` said and p-values of 1.
    """
    pairs = min(len(reference), len(candidate))
    nothing = partial(Comparison, pairs, tolerance, looks=looks)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        return nothing(nothing=f"a tolerance of {tolerance} allows nothing")
    try:
        values = log_ratios(reference, candidate)
    except ValueError as error:
        return nothing(nothing=str(error))
    confidence = look_confidence(CONFIDENCE, looks)
    least = least_pairs(confidence)
    if pairs < least:
        why = f"{pairs} pairs are too few, {least} are the least from which anything is decided"
        return nothing(nothing=why)
    if len(set(reference)) == 1 or len(set(candidate)) == 1:
        why = f"the clock gave the same time {pairs} times, so it does not measure"
        return nothing(nothing=why)
    low, high = interval(values, confidence)
    limit = math.log1p(tolerance)
    return Comparison(
        pairs=pairs,
        tolerance=tolerance,
        ratio=math.exp(hodges_lehmann(values)),
        low=math.exp(low),
        high=math.exp(high),
        p_slower=corrected(signed_rank_p(values, limit, "greater"), looks),
        p_not_slower=corrected(signed_rank_p(values, limit, "less"), looks),
        looks=looks,
    )


def is_decided(one: Comparison, cases: int = 1) -> bool:
    """Whether a case is slower or not slower, whatever the others that are judged with it show."""
    return not one.nothing and (
        _is_slower(one, cases * one.p_slower) or _is_not_slower(one, cases * one.p_not_slower)
    )


def _is_slower(one: Comparison, p_value: float) -> bool:
    """Ties and rounding can part test and interval: a decision needs both."""
    return p_value <= 1 - CONFIDENCE and one.low > 1 + one.tolerance


def _is_not_slower(one: Comparison, p_value: float) -> bool:
    return p_value <= 1 - CONFIDENCE and one.high <= 1 + one.tolerance


def speed_verdicts(
    comparisons: Mapping[str, Comparison],
    *,
    gate: str = "speed",
    against: Mapping[str, str] | None = None,
) -> dict[str, Verdict]:
    """Decide all cases of a run at once, each direction corrected by Holm for their number.

    `against` says what each was compared with. Nothing is said of a case because another's
    numbers are none.

    Failed: slower, beyond the tolerance. Passed: not slower. Inconclusive: neither is shown.
    """
    able = {name: one for name, one in comparisons.items() if not one.nothing}
    slower = holm({name: one.p_slower for name, one in able.items()})
    not_slower = holm({name: one.p_not_slower for name, one in able.items()})
    verdicts: dict[str, Verdict] = {}
    for name, one in comparisons.items():
        if one.nothing:
            verdicts[name] = Verdict(gate, INCONCLUSIVE, one.nothing)
            continue
        other = (against or {}).get(name, "its reference")
        said = (
            f"{one.size} than {other}, {100 * one.tolerance:g} % slower allowed; {one.pairs} pairs"
        )
        if _is_slower(one, slower[name]):
            verdicts[name] = Verdict(gate, FAILED, f"{said}, {_p(slower[name])}")
        elif _is_not_slower(one, not_slower[name]):
            verdicts[name] = Verdict(gate, PASSED, f"{said}, {_p(not_slower[name])}")
        else:
            verdicts[name] = Verdict(gate, INCONCLUSIVE, f"{said}: {_why_open(one, len(able))}")
    return verdicts


def self_check_verdict(comparisons: Sequence[Comparison]) -> Verdict:
    """What a case's trials against itself say: every "slower" among them is a false alarm.

    Failed where the machine gives more than 1 - CONFIDENCE of them beyond doubt (95 %, exact).
    """
    gate = "self-check"
    able = [one for one in comparisons if not one.nothing]
    if not able:
        why = comparisons[0].nothing if comparisons else "no trial was finished"
        return Verdict(gate, INCONCLUSIVE, why)
    alarms, trials = false_alarms(able)
    low, high = proportion(alarms, trials)
    said = f"{alarms} false alarms in {trials} trials ({low:.1%} to {high:.1%})"
    if trials >= LEAST_TRIALS and not low <= 1 - CONFIDENCE:
        return Verdict(gate, FAILED, f"{said}, more than the {1 - CONFIDENCE:.0%} of the method")
    if alarms:
        return Verdict(gate, INCONCLUSIVE, f"{said}; more --trials would tell")
    return Verdict(gate, PASSED, said)


def false_alarms(comparisons: Sequence[Comparison]) -> tuple[int, int]:
    """How many comparisons say "slower", each judged alone; and how many can say anything."""
    able = [one for one in comparisons if not one.nothing]
    return sum(one.p_slower <= 1 - CONFIDENCE for one in able), len(able)


def _p(p_value: float) -> str:
    return f"p {p_value:.2g}" if p_value >= 1e-4 else "p below 0.0001"


def _why_open(one: Comparison, cases: int) -> str:
    """What stands in the way of a decision, and what would help."""
    needed = least_pairs(look_confidence(CONFIDENCE, one.looks), cases)
    if one.pairs < needed:
        return f"among {cases} cases at least {needed} pairs are needed"
    alone = min(one.p_slower, one.p_not_slower) <= 1 - CONFIDENCE
    if alone:
        return f"clear alone, not among {cases} cases judged together; more pairs would tell"
    more = "a quieter machine" if one.looks > 1 else "more pairs"
    return f"the interval holds the tolerance; {more} would tell"
