"""The time of a run: what was planned, what has gone by, and what may still be begun."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from latentcy.core.gates import TIMED_GATES
from latentcy.pipelines import time_spent as spent
from latentcy.pipelines.case import Case
from latentcy.suite.run_plan import NO_TIME, CaseCost, CasePlan, ImagePlan, plan_run

MINUTES = 5.0  # of a run on the embedded model, where nothing else is asked for


class RunTime:
    """Minutes of a run after loading, and the plan that they allow.

    Args:
        minutes: 0 for no limit.
        asked: the images of each case, by its id.
        now: the seconds of a clock that never goes back.
    """

    def __init__(
        self,
        minutes: float,
        asked: Mapping[str, ImagePlan],
        *,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._seconds, self._asked, self._now = 60 * minutes, dict(asked), now
        self._began, self._loaded_before = now(), spent.so_far().loading
        self._plans: dict[str, CasePlan] = {}
        self._begun: dict[str, float] = {}  # seconds gone by when a case began

    @property
    def limited(self) -> bool:
        """Whether there is an end to it."""
        return self._seconds > 0

    @property
    def elapsed(self) -> float:
        """Seconds since the run was opened, without those of loading."""
        loading = spent.so_far().loading - self._loaded_before
        return max(0.0, self._now() - self._began - loading)

    def plan(self, costs: Sequence[CaseCost]) -> tuple[str, ...]:
        """Plans the cases, and says what each gets that gets less than was asked for."""
        if not self.limited or not costs:
            return ()
        gone = self.elapsed
        self._plans = plan_run(costs, self._asked, max(0.0, self._seconds - gone))
        return _told(self._plans, self._seconds, gone)

    def of(self, case: Case) -> CasePlan:
        """What the case gets; all that was asked for where nothing was planned."""
        return self._plans.get(case.id) or CasePlan(self._asked[case.id])

    def begin(self, case: Case) -> None:
        """Notes that the case is at work from now on."""
        self._begun.setdefault(case.id, self.elapsed)

    def left_out(self, case: Case, gate: str) -> str | None:
        """Why a gate of the case is not judged: by the plan, or since the time is over."""
        plan = self.of(case)
        seconds = plan.gate_seconds.get(gate, 0.0)
        if gate in plan.left_out:
            return None if self._is_taken_up(case, gate, seconds) else NO_TIME
        if not self._plans or not seconds:
            return None
        first = sum(
            one.needed_first for name, one in self._plans.items() if name not in self._begun
        )
        if self.elapsed + seconds + first <= self._seconds:
            return None
        why = plan.why or "the time was over"
        self._plans[case.id] = replace(plan, left_out=plan.left_out | {gate}, why=why)
        return NO_TIME

    def _is_taken_up(self, case: Case, gate: str, seconds: float) -> bool:
        """Takes a gate up after all, where so much time is left over; timing as a whole."""
        plan, spare = self.of(case), self.spare(case)
        gates = TIMED_GATES if gate in TIMED_GATES else frozenset({gate})
        seconds = plan.timing_seconds if gate in TIMED_GATES else seconds
        if spare is None or not seconds or seconds > spare:
            return False
        left_out = plan.left_out - gates
        self._plans[case.id] = replace(plan, left_out=left_out, seconds=plan.seconds + seconds)
        return True

    def spare(self, case: Case) -> float | None:
        """Seconds that the case may take beyond its plan; None without a limit.

        What was planned for the cases to come is theirs.
        """
        if not self._plans:
            return None
        to_come = sum(one.seconds for name, one in self._plans.items() if name not in self._begun)
        began = self._begun.get(case.id, self.elapsed)
        own = max(0.0, began + self.of(case).seconds - self.elapsed)
        return max(0.0, self._seconds - self.elapsed - to_come - own)

    def timing(self, case: Case) -> float | None:
        """Seconds that timing the case may take; None without a limit."""
        spare = self.spare(case)
        return None if spare is None else self.of(case).timing_seconds + spare

    def more_images(self, case: Case, reference: str = "") -> ImagePlan | None:
        """Twice as many images, where they were asked for and there is time; planned from then on.

        They are all drawn anew, and those of the reference, of this id, as well.
        """
        plan, asked = self.of(case), self._asked[case.id]
        images = min(2 * plan.images.images, asked.images)
        if images <= plan.images.images or not plan.image_seconds:
            return None
        other = self._plans.get(reference)
        seconds = images * (plan.image_seconds + (other.image_seconds if other else 0.0))
        spare = self.spare(case)
        if spare is None or seconds > spare:
            return None
        more = replace(plan.images, images=images)
        self._plans[case.id] = replace(plan, images=more, seconds=plan.seconds + seconds)
        return more

    def left(self) -> float | None:
        """Seconds that the rest is expected to take, by the plan and by how well it held so far."""
        if not self._plans or not self._begun:
            return None
        begun = list(self._begun)
        since = self.elapsed - self._begun[begun[0]]
        done = sum(self._plans[name].seconds for name in begun[:-1] if name in self._plans)
        last = self._plans.get(begun[-1])
        within = self.elapsed - self._begun[begun[-1]]
        own = last.seconds if last else 0.0
        to_come = sum(one.seconds for name, one in self._plans.items() if name not in self._begun)
        pace = (since - within) / done if done > 0 else 1.0
        return max(0.0, own * pace - within) + to_come * pace


def _told(plans: Mapping[str, CasePlan], seconds: float, gone: float) -> tuple[str, ...]:
    """The plan in lines."""
    total = gone + sum(one.seconds for one in plans.values())
    lines = [f"Plan: about {duration(total)} of the {duration(seconds)} of --minutes"]
    least = total > seconds
    if least:
        lines[0] = (
            f"Plan: the least of these cases takes about {duration(total)}, more than the "
            f"{duration(seconds)} of --minutes; --minutes {math.ceil(total / 60)} would do"
        )
    lines += [
        f"  {name.partition('/')[2]}: {one.words}" for name, one in plans.items() if one.words
    ]
    return tuple(lines)


def duration(seconds: float) -> str:
    """ "4 min 20 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
