"""Why is an image broken? It is generated again, with hooks, and the place is named.

Only broken images are repeated, with their own companions of the batch: one batch for each kind of
fault, and then the image alone, without hooks. So the second run stays cheap on a real model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from latentcy.measure.diagnosis.contrast_trail import Trail, trailed
from latentcy.measure.diagnosis.module_hooks import Observation, watch_pipeline
from latentcy.measure.diagnosis.overflow_origin import OverflowOrigin
from latentcy.measure.flops import uncompiled
from latentcy.measure.images.health import ImageHealth, look
from latentcy.pipelines.devices.device import free, is_out_of_memory

MOST_REPEATED = 3
"""Batches repeated in one investigation: as many kinds of fault as one verdict can tell."""


@dataclass(frozen=True)
class Finding:
    """What a second run said of one broken image and of those that are broken like it.

    Attributes:
        image: its place among all images.
        said: where the fault lies, in words.
        origin: the first non-finite value, where there was one.
        trail: the image's spread through the pipeline.
        alone: whether it is sound without its companions; None where it had none, or that was
            not tried.
    """

    image: int
    said: str
    origin: OverflowOrigin | None = None
    trail: Trail | None = None
    alone: bool | None = None


@dataclass(frozen=True)
class Findings:
    """All that an investigation found; `sentence` stands in the verdict's reason."""

    findings: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """The findings in words; those that say the same are said once."""
        return "; ".join(dict.fromkeys(finding.said for finding in self.findings))


def investigate(
    sampler: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    healths: Sequence[ImageHealth],
    *,
    batch: int,
) -> Findings | None:
    """Generate the broken images again with a hook on every module, and say what is seen.

    What is compiled or captured runs plainly meanwhile. Never raises for what the second run
    raises, an exhausted memory included: the finding then says so.

    Args:
        sampler: its `pipeline` and its `observe(prompts, seeds, batch=)` are used.
        prompts: of all images.
        seeds: one for each prompt.
        healths: as `look` found them, one for each prompt.
        batch: images in one call of the first run.

    Returns:
        One finding for each kind of fault, at most MOST_REPEATED; None where no image is broken.
    """
    examples = list(_examples(healths, batch))
    if not examples:
        return None
    found = []
    for health in examples:
        try:
            with uncompiled(set()):  # hooks see nothing inside compiled or captured code
                found.append(_repeat(sampler, prompts, seeds, health, batch))
            continue
        except Exception as error:
            why = f"the second run, with hooks, {_trouble(error)}"
        said = f"where the fault lies is not known, since {why}"
        found.append(Finding(health.index or 0, said))
        with contextlib.suppress(Exception):
            free(sampler.device)  # only now has the error let go of what the second run held
    return Findings(tuple(found))


def _examples(healths: Sequence[ImageHealth], batch: int) -> Iterator[ImageHealth]:
    """The first broken image of each reason, but one of each batch."""
    reasons: set[str] = set()
    starts: set[int] = set()
    for place, health in enumerate(healths):
        index = place if health.index is None else health.index
        start = index // batch
        if health.ok or health.reason in reasons or len(starts) == MOST_REPEATED:
            continue
        reasons.add(health.reason)
        if start not in starts:
            starts.add(start)
            yield health


@dataclass(frozen=True)
class _Second:
    """What a second run has shown of one image."""

    origin: OverflowOrigin | None
    trail: Trail
    health: ImageHealth | None  # None where the run raised after the origin had been found
    trouble: str = ""  # what it raised


def _repeat(
    sampler: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    health: ImageHealth,
    batch: int,
) -> Finding:
    """Generate the image's batch again, and the image alone where that may tell more."""
    index = health.index or 0
    start = index // batch * batch
    part = slice(start, start + batch)
    again = list(prompts[part]), list(seeds[part])
    trail = Trail(index - start, len(again[0]))
    finite = health.kind != "non-finite"  # the other has an origin, whatever its spread was
    second = _generate_again(sampler, *again, trail, modules=finite)
    said, company = _tell(second), len(again[0]) - 1
    alone = None
    now = second.health
    if company and now is not None and not now.ok and now.kind != "after decoding":
        alone = _is_sound_alone(sampler, prompts[index], seeds[index])
        said += "; alone, that image is sound" if alone else ""
    where = f"image {index + 1} (seed {seeds[index]}) repeated"
    where += f" with its batch of {company + 1}" if company else ""
    return Finding(index, f"{where}: {said}", second.origin, trail, alone)


def _generate_again(
    sampler: Any, prompts: Sequence[str], seeds: Sequence[int], trail: Trail, *, modules: bool
) -> _Second:
    """One batch with hooks; with `modules` their spread is followed as well.

    Raises what the run raises before an origin is found.
    """
    observation = Observation()
    try:
        with contextlib.ExitStack() as stack:
            watching = watch_pipeline(sampler.pipeline, also=trail.take)
            observation = stack.enter_context(watching)
            if modules:
                stack.enter_context(trailed(sampler.pipeline, trail, observation.where))
            made = sampler.observe(prompts, seeds, batch=len(prompts))
    except Exception as error:
        if observation.origin is None:
            raise
        return _Second(observation.origin, trail, None, _trouble(error))
    healths = look(made.images, made.latents, made.decoded, made.flagged)
    return _Second(observation.origin, trail, healths[trail.image])


def _tell(second: _Second) -> str:
    """The second run in words."""
    origin, now, trail = second.origin, second.health, second.trail
    if origin is not None and now is None:
        return f"{origin.sentence}; then the second run {second.trouble}"
    assert now is not None
    if now.ok:
        return "it was sound, so the fault does not come again with the same noise"
    if origin is None and now.kind == "non-finite":
        return f"no part of the pipeline gave out the {now.reason}"
    if origin is None:
        return trail.sentence
    elsewhere = origin.spares(trail.image, trail.images)
    if now.kind == "non-finite":
        return origin.sentence + (", in another image of the batch" if elsewhere else "")
    if elsewhere:
        return f"{trail.sentence}; in another image of the batch {origin.sentence}"
    return f"{origin.sentence}; later all values were finite again"


def _is_sound_alone(sampler: Any, prompt: str, seed: int) -> bool | None:
    """None where that run raises: what was found before it must not be lost."""
    try:
        made = sampler.observe([prompt], [seed], batch=1)
    except Exception:
        return None
    return look(made.images, made.latents, made.decoded, made.flagged)[0].ok


def _trouble(error: BaseException) -> str:
    """As "raised ValueError (its first line)"."""
    if is_out_of_memory(error):
        return "ran out of memory"
    first = str(error).strip().partition("\n")[0][:200]
    return f"raised {type(error).__name__}{f' ({first})' if first else ''}"
