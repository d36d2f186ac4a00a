"""The same image again: twice, in another process, in a batch, after other work; and another one.

Each function takes a sampler, draws a few images in a few steps, leaves the sampler as it was, and
gives one verdict. `seeds` are three, `steps` at most so many (None takes the workload's). A
generation that raises is not caught here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from latentcy.core.verdict import INCONCLUSIVE, Verdict
from latentcy.gates.invariants.image_bounds import (
    Finding,
    another,
    concluded,
    furthest,
    least_apart,
    rounding,
    same,
    same_code,
)
from latentcy.measure.short_generations import (
    SEEDS,
    STEPS,
    batch_limit,
    brief,
    draw,
    draw_singly,
    prompts,
    random_states,
    reseed,
    with_steps,
)
from latentcy.pipelines.sampler import Sampler

Elsewhere = Callable[[Sequence[str], Sequence[int], int], np.ndarray]
"""Images of prompts[i] from seeds[i] in a number of steps, made in another process."""


def repeat(sampler: Sampler, *, seeds: Sequence[int] = SEEDS, steps: int | None = STEPS) -> Verdict:
    """Same prompts, same seeds, same images: three calls in this process.

    Three, since what is kept from the first call can make the second equal to it, or the first
    alone unlike all others. On a CPU nothing may differ, on an accelerator what rounding takes.
    """
    count = min(2, batch_limit(sampler))
    bound = same_code(sampler)
    with brief(sampler, steps) as short:
        texts = prompts(short)[:count]
        first, *later = [draw(short, texts, seeds[:count]) for _ in range(3)]
        findings = [
            same(
                again, first, bound, what=f"{{image}} of call {call} of 3/the same image of call 1"
            )
            for call, again in enumerate(later, 2)
        ]
    return concluded("repeat", findings)


def new_process(
    sampler: Sampler,
    elsewhere: Elsewhere,
    *,
    seeds: Sequence[int] = SEEDS,
    steps: int | None = STEPS,
) -> Verdict:
    """Same prompt, same seed, same image in a process of its own.

    The other process has another hash seed and other random states. On a CPU it must run as many
    threads as this one, and nothing may differ.

    Args:
        sampler: this process's.
        elsewhere: draws there, with the number of steps that it is given.
        seeds: the first is drawn.
        steps: as everywhere here.
    """
    with brief(sampler, steps) as short:
        texts, seeds = prompts(short)[:1], seeds[:1]
        here = draw(short, texts, seeds)
        there = np.asarray(elsewhere(texts, seeds, short.workload.steps), dtype=np.float32)
    what = "the image from a process of its own/the same image drawn here"
    return concluded("new process", [same(there, here, same_code(sampler), what=what)])


def batch(sampler: Sampler, *, seeds: Sequence[int] = SEEDS, steps: int | None = STEPS) -> Verdict:
    """A batch is what its images are singly, and no image depends on what stands beside it.

    Three prompts of different lengths from three seeds, and several images of one prompt. Judged
    by what rounding takes: another batch size is another order of sums. Inconclusive for a variant
    that is observed one image at a time.
    """
    limit = batch_limit(sampler)
    if limit < 2:
        reason = f"{sampler.variant.id} draws one image a call, so that there is no batch"
        return Verdict("batch", INCONCLUSIVE, reason)
    bound, beside = rounding(sampler), same_code(sampler)
    with brief(sampler, steps) as short:
        texts, seeds = prompts(short)[:limit], seeds[:limit]
        together = draw(short, texts, seeds)
        singly = draw_singly(short, texts, seeds)
        companions = (texts[0], *texts[:0:-1]), (seeds[0], *(seed + 100 for seed in seeds[1:]))
        other_company = draw(short, *companions)
        of_one_prompt = short.generate(None, seeds[:2]).images
        singly_of_one = np.concatenate([singly[:1], draw(short, texts[:1], seeds[1:2])])
        alone = "{image} in a batch/the same image alone"
        findings = [same(together, singly, bound, what=alone)]
        if not findings[0].kept:
            image = furthest(together, singly, bound).image - 1
            if quality := _mixed_up(short, together[image], image, singly, texts, seeds):
                findings[0] = Finding(False, f"{findings[0].words} ({quality})")
    findings += [
        same(
            other_company[:1],
            together[:1],
            beside,
            what="image 1 of a batch/the same image beside other prompts and seeds",
        ),
        same(
            of_one_prompt,
            singly_of_one,
            bound,
            what="{image} by num_images_per_prompt/the same image alone",
        ),
    ]
    return concluded("batch", findings)


def history(
    sampler: Sampler, *, seeds: Sequence[int] = SEEDS, steps: int | None = STEPS
) -> Verdict:
    """An image does not depend on what ran before it, nor on the global random states.

    It is drawn, drawn again after torch, numpy and Python are seeded otherwise, and again after
    another prompt, another batch size and another number of steps. Nor does what ran after it: a
    generation that seeds those states leaves the same ones behind whatever they were, and the
    user's next numbers repeat.
    """
    bound = same_code(sampler)
    with brief(sampler, steps) as short:
        first, *rest = prompts(short)
        number, count = short.workload.steps - 1 or 2, min(2, batch_limit(sampler))
        reseed(1)
        before, left = draw(short, [first], seeds[:1]), random_states()
        reseed(2)
        reseeded, left_again = draw(short, [first], seeds[:1]), random_states()
        draw(with_steps(short, number), rest[:count], seeds[1 : 1 + count])
        after = draw(short, [first], seeds[:1])
    other_work = f"{count} image(s) of other prompts in {number} steps"
    findings = [
        same(
            reseeded,
            before,
            bound,
            what="an image/the same before the global random states were seeded otherwise",
        ),
        same(after, before, bound, what=f"an image/the same before {other_work}"),
        *_seeded(left, left_again),
    ]
    return concluded("history", findings)


def _seeded(left: Mapping[str, bytes], left_again: Mapping[str, bytes]) -> Iterator[Finding]:
    """Of the states that two generations left, begun from different ones, those that are equal."""
    for owner, state in left.items():
        if state == left_again[owner]:
            words = (
                f"a generation seeds {owner}'s global random state, which is the same after it "
                "whatever it was before: draw from a generator of its own instead"
            )
            yield Finding(False, words)


def seed(sampler: Sampler, *, seeds: Sequence[int] = SEEDS, steps: int | None = STEPS) -> Verdict:
    """Other seeds and other prompts give other images.

    `latentcy.gates.invariants.image_bounds.least_apart` says how far apart they must be.
    """
    least = least_apart(sampler)
    with brief(sampler, steps) as short:
        texts = prompts(short)
        base = draw(short, texts[:1], seeds[:1])
        other_seed = draw(short, texts[:1], seeds[1:2])
        other_prompt = draw(short, texts[1:2], seeds[:1])
    findings = [
        another(other_seed, base, least, what=f"the image of seed {seeds[1]}/that of {seeds[0]}"),
        another(other_prompt, base, least, what=f"the image of {texts[1]!r}/that of {texts[0]!r}"),
    ]
    return concluded("seed", findings)


def _mixed_up(
    sampler: Sampler,
    image: np.ndarray,
    place: int,
    singly: np.ndarray,
    texts: Sequence[str],
    seeds: Sequence[int],
) -> str:
    """Whose image stands in the place of another in a batch; empty where it is nobody's.

    `place` counts from 0; the singles, prompts and seeds are the batch's.
    """
    bound = rounding(sampler)

    def is_it(candidate: np.ndarray) -> bool:
        return bound.holds(furthest(image[None], candidate[None], bound))

    for other, single in enumerate(singly):
        if other != place and is_it(single):
            return f"it is image {other + 1}"
    for other in range(len(singly)):
        if other == place:
            continue
        if is_it(draw(sampler, [texts[other]], [seeds[place]])[0]):
            return f"it has the prompt of image {other + 1}"
        if is_it(draw(sampler, [texts[place]], [seeds[other]])[0]):
            return f"it has the noise of image {other + 1}"
    return ""
