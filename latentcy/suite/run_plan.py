"""The plan of a run: what each case gets of the time that there is. Pure: nothing here needs torch.

A run that may take so many minutes is planned before anything is measured, from one short call of
each case (`CaseCost`) and from what each gate draws (`GATE_DRAWS`). Cases that are cheap get all
that was asked for; what they leave is shared by the others, each of which gets the best of `LEVELS`
that its share can pay, and loses gates where none can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from latentcy.core.gates import GATES, TIMED_GATES, Draws

PLANNED = 0.8  # of the minutes; the rest is for verdicts still open, and for estimates that err
PAIRS = 20  # what a case of no great noise is known to need (docs/method.md)
MEASURED_AT_ONCE = 3  # calls of the workload by which costs are read: first, by stages, warm
COUNTED, COUNTED_STEPS = 2, 2  # short calls in which operations and tensors are counted


@dataclass(frozen=True)
class ImagePlan:
    """How many images a case's quality is judged by, and in how many denoising steps each."""

    images: int
    steps: int


# By the gate's name, in the order in which they are left out where the time is short.
GATE_DRAWS: Mapping[str, Draws] = {
    gate.name: gate.draws for gate in GATES if gate.draws is not None
}
NO_TIME = "left out, since there was no time for it (--minutes)"
PROCESS_SECONDS = 5.0  # of starting another process, which the first "new process" of a run does


@dataclass(frozen=True)
class Level:
    """How much of what was asked for a case gets; None stands for all of it."""

    images: int | None = None
    image_steps: int | None = None
    call_steps: int | None = None  # of the calls by which costs and the schedule are read
    invariant_steps: int = 4
    timed: int | None = None  # calls that are timed where nothing is paired
    pairs: int = PAIRS


# In 10 steps rounding alone turns a picture of the miniature into another one (bf16 under autocast:
# SSIM 0.86 and CLIP 20 points lower for one prompt of 16), in 15 to 30 it does not: all of 16
# prompts keep 0.99. From 20 steps 4 images are enough to judge fp16, bf16 and autocast by. Seen on
# AVX2 alone with `pytest --benchmark --minutes 0 --image-steps N --only bf16,autocast,fp16`.
LEVELS = (
    Level(),
    Level(images=16, image_steps=25, call_steps=5, timed=1),
    Level(images=8, image_steps=20, call_steps=5, invariant_steps=2, timed=1, pairs=10),
    Level(images=4, image_steps=20, call_steps=5, invariant_steps=2, timed=1, pairs=10),
)


@dataclass(frozen=True)
class CaseCost:
    """What a case was seen to take, and what is due of it.

    Attributes:
        case: its id.
        image_seconds, step_seconds: of one image, apart from its steps, and of each of its steps,
            where nothing is timed.
        slower_timed: by how much a timed call takes longer than those (it may run fewer threads).
        seeds, steps: images and steps of a call of the workload.
        calls: of the workload that are timed where nothing is paired.
        reference: id of the case that it is paired with; "" where it promises no speed.
        gates: that are due.
        why: what makes it slow, for the user; "" where nothing is known.
    """

    case: str
    image_seconds: float
    step_seconds: float
    seeds: int
    steps: int
    calls: int
    gates: frozenset[str]
    slower_timed: float = 1.0
    reference: str = ""
    why: str = ""

    def seconds(self, images: int, steps: int) -> float:
        """Of so many images in so many steps each."""
        return images * (self.image_seconds + steps * self.step_seconds)

    @property
    def call_seconds(self) -> float:
        """Of one timed call of the workload."""
        return self.slower_timed * self.seconds(self.seeds, self.steps)


@dataclass(frozen=True)
class CasePlan:
    """What one case gets.

    Attributes:
        images: of its quality.
        call_steps: of the calls by which costs and schedule are read; None: the workload's.
        invariant_steps: of an invariant's images, at most.
        timed: calls that are timed where nothing is paired; None: as asked for.
        seconds: that all of it is expected to take; nan where nothing was planned.
        needed_first: of them those of images and timing, which come before all invariants.
        timing_seconds: of timing alone.
        image_seconds: of one image of its quality.
        gate_seconds: of each invariant.
        left_out: the gates for which there is no time.
        calls: that are timed; 0 where it is timed in pairs or not at all.
        why: one generation's seconds, and what makes it slow, for the user; "" where the case gets
            all that was asked for.
    """

    images: ImagePlan
    call_steps: int | None = None
    invariant_steps: int = 4
    timed: int | None = None
    seconds: float = math.nan
    needed_first: float = 0.0
    timing_seconds: float = 0.0
    image_seconds: float = 0.0
    gate_seconds: Mapping[str, float] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    calls: int = 0
    why: str = ""

    @property
    def words(self) -> str:
        """ "4 images in 20 steps, timed once, without growth: one generation takes about 10 s"."""
        if not self.why:
            return ""
        parts = [f"{self.images.images} images in {self.images.steps} steps"]
        if TIMED_GATES & self.left_out:
            missed = ["timing"]
        else:
            missed = []
            parts += [_times(self.calls)] if self.calls else []
        missed += sorted(self.left_out - TIMED_GATES)
        if missed:
            parts.append(f"without {', '.join(missed)}")
        return f"{', '.join(parts)}: {self.why}"

    def to_dict(self) -> dict[str, object]:
        """Plain values for a record."""
        return {
            "images": self.images.images,
            "image_steps": self.images.steps,
            "call_steps": self.call_steps,
            "timed": self.timed,
            "left_out": sorted(self.left_out),
            "words": self.words,
        }


def plan_run(
    costs: Sequence[CaseCost], asked: Mapping[str, ImagePlan], seconds: float
) -> dict[str, CasePlan]:
    """Share the seconds out among the cases.

    Args:
        costs: of each case that will be run, in their order.
        asked: the images of each, by the case's id.
        seconds: that the run may take; `PLANNED` of them are given away.

    Returns:
        A plan for each case, by its id. No case gets less than images, even where those alone
        take longer than there is.
    """
    blind = [cost for cost in costs if not math.isfinite(cost.call_seconds)]
    costs = [cost for cost in costs if cost not in blind]
    by_case = {cost.case: cost for cost in costs}
    whole = {cost.case: _level_seconds(cost, LEVELS[0], asked, by_case) for cost in costs}
    starts = any("new process" in cost.gates for cost in costs)
    left, waiting = PLANNED * seconds - PROCESS_SECONDS * starts, len(costs)
    plans = {cost.case: _unseen(cost, asked[cost.case]) for cost in blind}
    for cost in sorted(costs, key=lambda one: whole[one.case]):  # the cheapest leave something over
        share = max(0.0, left) / waiting
        plans[cost.case] = _best(cost, share, asked, by_case)
        left -= plans[cost.case].seconds
        waiting -= 1
    return plans


def _unseen(cost: CaseCost, asked: ImagePlan) -> CasePlan:
    """The least, for a case whose first call took no time by this clock."""
    level = LEVELS[-1]
    images = _images(level, asked)
    steps = None if level.call_steps is None else min(level.call_steps, cost.steps)
    return CasePlan(
        images=images,
        call_steps=steps,
        invariant_steps=level.invariant_steps,
        timed=level.timed,
        seconds=0.0,
        calls=level.timed or 0,
        why="the clock stood still during its first call",
    )


def _best(
    cost: CaseCost,
    share: float,
    asked: Mapping[str, ImagePlan],
    by_case: Mapping[str, CaseCost],
) -> CasePlan:
    """The best level that a share of the time can pay, or the least without its costliest gates."""
    for level in LEVELS:
        seconds = _level_seconds(cost, level, asked, by_case)
        if seconds <= share:
            break
    images = _images(level, asked[cost.case])
    timing = _timing_seconds(cost, level, by_case)
    plan = CasePlan(
        images=images,
        call_steps=None if level.call_steps is None else min(level.call_steps, cost.steps),
        invariant_steps=level.invariant_steps,
        timed=level.timed,
        seconds=seconds,
        needed_first=cost.seconds(images.images, images.steps) + timing,
        timing_seconds=timing,
        calls=0 if cost.reference or not timing else level.timed or cost.calls,
        image_seconds=cost.seconds(1, images.steps),
        gate_seconds={
            gate: _gate_seconds(cost, gate, level) for gate in GATE_DRAWS if gate in cost.gates
        },
    )
    if seconds > share:
        plan = _without(plan, cost, share, timing)
    return plan if level == LEVELS[0] and not plan.left_out else replace(plan, why=_why(cost))


def _without(plan: CasePlan, cost: CaseCost, share: float, timing: float) -> CasePlan:
    """The plan without the costliest invariants, and then without timing, until it can be paid."""
    seconds, needed_first, each = plan.seconds, plan.needed_first, plan.gate_seconds
    left_out: set[str] = set()
    for gate in sorted(each, key=lambda one: -each[one]):
        if seconds <= share or not each[gate]:
            break
        seconds -= each[gate]
        left_out.add(gate)
    if seconds > share and timing:
        seconds, needed_first = seconds - timing, needed_first - timing
        left_out |= cost.gates & TIMED_GATES
    return replace(plan, seconds=seconds, needed_first=needed_first, left_out=frozenset(left_out))


def _level_seconds(
    cost: CaseCost,
    level: Level,
    asked: Mapping[str, ImagePlan],
    by_case: Mapping[str, CaseCost],
) -> float:
    """Of all gates of a case at one level."""
    images = _images(level, asked[cost.case])
    total = cost.seconds(images.images, images.steps)
    total += sum(_gate_seconds(cost, gate, level) for gate in cost.gates)
    if "memory" in cost.gates or cost.gates & TIMED_GATES:
        steps = level.call_steps or cost.steps
        whole, counted = cost.seconds(cost.seeds, steps), cost.seconds(cost.seeds, COUNTED_STEPS)
        total += cost.slower_timed * (MEASURED_AT_ONCE * whole + COUNTED * counted)
    return total + _timing_seconds(cost, level, by_case)


def _timing_seconds(cost: CaseCost, level: Level, by_case: Mapping[str, CaseCost]) -> float:
    if not cost.gates & TIMED_GATES:
        return 0.0
    if cost.reference:
        other = by_case.get(cost.reference, cost)
        return level.pairs * (cost.call_seconds + other.call_seconds)
    return (level.timed or cost.calls) * cost.call_seconds


def _gate_seconds(cost: CaseCost, gate: str, level: Level) -> float:
    draws = GATE_DRAWS.get(gate, Draws())
    steps = draws.call_steps or level.call_steps or cost.steps
    own = cost.seconds(draws.images, min(level.invariant_steps, cost.steps))
    return own + cost.seconds(draws.calls * cost.seeds, min(steps, cost.steps))


def _images(level: Level, asked: ImagePlan) -> ImagePlan:
    steps = asked.steps if level.image_steps is None else min(level.image_steps, asked.steps)
    images = asked.images if level.images is None else min(level.images, asked.images)
    return ImagePlan(images, steps)


def _why(cost: CaseCost) -> str:
    since = f", since {cost.why}" if cost.why else ""
    return f"one generation takes about {cost.call_seconds:.2g} s{since}"


def _times(count: int) -> str:
    return "timed once" if count == 1 else f"timed {count} times"
