"""Variants files, and choosing among variants."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.variants.user_module import import_object, run_file
from latentcy.pipelines.variants.variant import Variant


def is_object_name(path: str | Path) -> bool:
    """Whether it names an object of a module, as "mypipe.variants:VARIANTS" does, and no file."""
    return bool(re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*", str(path)))


def load_variants(path: str | Path) -> tuple[Variant, ...]:
    """The VARIANTS that a Python file defines, or a module's object, in its order.

    The file is run, the module imported. Raises LatentcyError where it is missing, does not import
    (with the exception and the line), or where VARIANTS is missing, empty, holds anything else, or
    holds one id twice.
    """
    if is_object_name(path):
        return _checked(import_object(str(path)), str(path))
    path = Path(path)
    expected = "a Python file that defines VARIANTS, a list of latentcy.Variant"
    if not path.is_file():
        found, do = f"no file {path}", "check the path given to --variants"
        raise LatentcyError(found=found, expected=expected, do=do)
    module = run_file(path, expected)
    variants = getattr(module, "VARIANTS", None)
    if variants is None:
        found, do = f"no VARIANTS in {path}", "define VARIANTS in it"
        raise LatentcyError(found=found, expected=expected, do=do)
    return _checked(variants, f"{path}")


def _checked(variants: Any, path: str) -> tuple[Variant, ...]:
    expected = "VARIANTS, a list of latentcy.Variant"
    if not isinstance(variants, (list, tuple)):
        raise LatentcyError(
            found=f"VARIANTS of type {type(variants).__name__} in {path}",
            expected=expected,
            do="make VARIANTS a list",
        )
    if not variants:
        found, do = f"an empty VARIANTS in {path}", "put at least one Variant into it"
        raise LatentcyError(found=found, expected=expected, do=do)
    for place, each in enumerate(variants):
        if not isinstance(each, Variant):
            raise LatentcyError(
                found=f"VARIANTS[{place}] of type {type(each).__name__} in {path}",
                expected=expected,
                do="make every element a Variant",
            )
    _refuse_duplicates(variants, f"in {path}")
    return tuple(variants)


def select(
    names: Sequence[str] | None,
    variants: Sequence[Variant],
    on_request: Sequence[Variant] = (),
) -> tuple[Variant, ...]:
    """The variants called `names`: "name", "group/name", or "group" for all of a group.

    None takes `variants` and none of `on_request`, and a plain name is looked for in `variants`
    first: so a name that both have means what it means without the others. The order is that of
    `variants`, then of `on_request`. Raises LatentcyError for an unknown name, with the nearest
    one.
    """
    if names is None:
        return tuple(variants)
    chosen: set[str] = set()
    for name in names:
        found = [each.id for each in variants if _called(each, name)]
        found = found or [each.id for each in on_request if _called(each, name)]
        if not found:
            raise _unknown(name, variants, on_request)
        chosen.update(found)
    return tuple(each for each in (*variants, *on_request) if each.id in chosen)


def with_references(chosen: Iterable[Variant], variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """`chosen` and every variant of its group that it is held against, in `variants`' order."""
    wanted = {each.id for each in chosen}
    by_id = {each.id: each for each in variants}
    queue = [by_id[each] for each in wanted]
    while queue:
        each = queue.pop()
        for name in (each.reference, each.ssim_reference):
            key = f"{each.group}/{name}"
            if name is not None and key not in wanted:
                wanted.add(key)
                queue.append(by_id[key])
    return tuple(each for each in variants if each.id in wanted)


def merge(builtin: Sequence[Variant], user: Sequence[Variant]) -> tuple[Variant, ...]:
    """The built-in variants followed by the user's.

    Raises LatentcyError where one id stands twice, or where a variant is held against one
    that its group does not have.
    """
    merged = (*builtin, *user)
    _refuse_duplicates(merged, "among the built-in variants and the variants file")
    ids = {each.id for each in merged}
    for each in merged:
        for name in (each.reference, each.ssim_reference):
            if name is not None and f"{each.group}/{name}" not in ids:
                group = ", ".join(other.name for other in merged if other.group == each.group)
                raise LatentcyError(
                    found=f"variant {each.name!r} held against {name!r}",
                    expected=f"a variant of the {each.group} group: {group}",
                    do="correct its reference or ssim_reference",
                )
    return merged


def _refuse_duplicates(variants: Iterable[Variant], where: str) -> None:
    seen: set[str] = set()
    for each in variants:
        if each.id in seen:
            raise LatentcyError(
                found=f"two variants with the id {each.id} {where}",
                expected="every name once in its group",
                do="rename one of them",
            )
        seen.add(each.id)


def _called(variant: Variant, name: str) -> bool:
    return name in (variant.name, variant.id, variant.group)


def _unknown(
    name: str, variants: Sequence[Variant], on_request: Sequence[Variant]
) -> LatentcyError:
    every = (*variants, *on_request)
    known = dict.fromkeys(word for each in every for word in (each.name, each.id, each.group))
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.4)
    names = ", ".join(dict.fromkeys(each.name for each in variants))
    groups = ", ".join(dict.fromkeys(each.group for each in every))
    return LatentcyError(
        found=f"a variant named {name!r}",
        expected=f"one of {names}, or a group: {groups}",
        do=f"did you mean {near[0]!r}?" if near else "use one of those names",
    )
