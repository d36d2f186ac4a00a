"""The variants and the cases that a run is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from latentcy.core.errors import LatentcyError
from latentcy.core.settings import Settings
from latentcy.pipelines.case import Case
from latentcy.pipelines.variants import (
    BUILTIN,
    EVERY,
    STACK,
    Variant,
    load_variants,
    merge,
    select,
    with_references,
)


def chosen_variants(settings: Settings) -> tuple[Variant, ...]:
    """The variants asked for, with those that they are held against.

    One case that is asked for is among them, whatever list of them an ini file may hold.

    Raises LatentcyError for an unknown name, and for a variants file that is none.
    """
    user = load_variants(settings.variants_file) if settings.variants_file else ()
    every = merge(EVERY, user)
    offered = (*BUILTIN, *user)
    chosen: Sequence[Variant] = select(settings.only, offered, STACK)
    if settings.case in {variant.id for variant in (*offered, *STACK)}:
        named = {variant.id for variant in chosen} | {settings.case}
        chosen = [variant for variant in (*offered, *STACK) if variant.id in named]
    if user and not settings.builtin:
        own = {variant.id for variant in user}
        chosen = [variant for variant in chosen if variant.id in own]
    return with_references(chosen, every)


def chosen_cases(cases: Sequence[Case], settings: Settings) -> tuple[Case, ...]:
    """The cases that this process has to run; the others are there to be references.

    Raises LatentcyError where there are none.
    """
    number, shards = settings.shard
    mine = cases[number - 1 :: shards]
    if settings.case:
        mine = tuple(case for case in cases if case.variant.id == settings.case)
    if mine:
        return tuple(mine)
    what = f"--case {settings.case}" if settings.case else f"--shard {number}/{shards}"
    raise LatentcyError(
        found=f"no case for {what} among {len(cases)}",
        expected="one of " + ", ".join(case.variant.id for case in cases),
        do="correct it, or have fewer shards",
    )
