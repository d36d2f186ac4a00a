"""The built-in variants, variants files, and choosing among them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from latentcy.errors import LatentcyError
from latentcy.generate.device import Device
from latentcy.generate.variants import (
    BUILTIN,
    Quality,
    Tolerance,
    Variant,
    load_variants,
    merge,
    select,
    with_references,
)

CPU = Device(kind="cpu", index=0, name="a processor", slug="a-processor")
TURING = Device(kind="cuda", index=0, name="T4", slug="t4", capability=(7, 5))
AMPERE = Device(kind="cuda", index=0, name="A100", slug="a100", capability=(8, 0))
BY_ID = {each.id: each for each in BUILTIN}
IMPORT = "from latentcy.generate.variants import Variant\n"


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "my_variants.py"
    file.write_text(textwrap.dedent(text))
    return file


def test_the_published_variants_stand_in_the_published_order() -> None:
    assert [each.id for each in BUILTIN] == [
        "precision/baseline",
        "precision/tf32",
        "precision/fp16",
        "precision/combined",
        "precision/bf16",
        "precision/autocast",
        "distillation/baseline",
        "distillation/distilled",
        "distillation/distilled-tiny-vae",
    ]
    assert merge(BUILTIN, ()) == BUILTIN


def test_every_tolerance_has_its_reason() -> None:
    limits = [
        limit
        for each in BUILTIN
        for limit in (each.quality.ssim, each.quality.clip_drop)
        if limit is not None
    ]
    assert limits and all(limit.reason for limit in limits)


def test_only_autocast_is_a_control() -> None:
    assert [each.id for each in BUILTIN if each.control] == ["precision/autocast"]


def test_tf32_is_refused_with_the_reason_where_the_device_has_none() -> None:
    tf32 = BY_ID["precision/tf32"]
    assert "NVIDIA GPU" in (tf32.refusal(CPU) or "")
    assert "T4 has 7.5" in (tf32.refusal(TURING) or "")
    assert tf32.refusal(AMPERE) is None
    assert BY_ID["precision/fp16"].refusal(CPU) is None


def test_a_cpu_gets_its_own_dtypes() -> None:
    distilled, autocast = BY_ID["distillation/distilled"], BY_ID["precision/autocast"]
    assert (distilled.resolved_dtype(AMPERE), distilled.resolved_dtype(CPU)) == (
        "float16",
        "float32",
    )
    assert (autocast.resolved_autocast(AMPERE), autocast.resolved_autocast(CPU)) == (
        "float16",
        "bfloat16",
    )
    assert BY_ID["precision/fp16"].resolved_dtype(CPU) == "float16"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Not An Id"},
        {"dtype": "fp16"},
        {"group": "speed"},
        {"unet": "half"},
        {"prepare": "a text"},
        {"quality": Quality(ssim=Tolerance(float("nan"), "none"))},
        {"quality": 0.9},
    ],
)
def test_a_field_that_cannot_be_meant_is_refused(wrong: dict) -> None:
    with pytest.raises(LatentcyError):
        Variant(**{"name": "mine", "changes": "Something.", **wrong})


def test_a_variants_file_is_read_in_its_order(tmp_path: Path) -> None:
    text = IMPORT + "VARIANTS = [Variant(name=n, changes='c') for n in ('b', 'a')]"
    assert [each.name for each in load_variants(write(tmp_path, text))] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n\nraise KeyError('gone')", "line 3: KeyError"),
        ("x = (", "line 1: SyntaxError"),
        ("import no_such_module_at_all", "line 1: ModuleNotFoundError"),
        ("def f():\n    return 1 / 0\nf()", "line 2: ZeroDivisionError"),
        ("raise SystemExit(3)", "line 1: SystemExit"),
        (IMPORT + "VARIANTS = [Variant(name='A', changes='c')]", "line 2: a variant named 'A'"),
        (IMPORT + "VARIANTS = [Variant('a')]", "line 2: TypeError"),
        ("x = 1", "no VARIANTS"),
        ("VARIANTS = []", "an empty VARIANTS"),
        ("VARIANTS = 3", "VARIANTS of type int"),
        ("VARIANTS = ['fp16']", "VARIANTS[0] of type str"),
        (IMPORT + "VARIANTS = 2 * [Variant('a', 'c')]", "two variants with the id precision/a"),
    ],
)
def test_a_bad_variants_file_is_told_by_its_fault(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(LatentcyError) as caught:
        load_variants(write(tmp_path, text))
    assert found in caught.value.found
    assert "my_variants.py" in caught.value.found


def test_a_missing_variants_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match=r"no file .*none\.py"):
        load_variants(tmp_path / "none.py")


def test_selecting_takes_a_name_in_every_group_or_an_id_in_one() -> None:
    assert [each.id for each in select(["fp16", "baseline"], BUILTIN)] == [
        "precision/baseline",
        "precision/fp16",
        "distillation/baseline",
    ]
    assert [each.id for each in select(["distillation/baseline"], BUILTIN)] == [
        "distillation/baseline"
    ]
    assert select(None, BUILTIN) == BUILTIN


def test_an_unknown_variant_gets_the_nearest_name() -> None:
    with pytest.raises(LatentcyError) as caught:
        select(["fp61"], BUILTIN)
    assert "fp61" in caught.value.found and "'fp16'" in caught.value.do


def test_references_come_with_what_is_held_against_them() -> None:
    chosen = select(["distilled-tiny-vae"], BUILTIN)
    assert [each.name for each in with_references(chosen, BUILTIN)] == [
        "baseline",
        "distilled",
        "distilled-tiny-vae",
    ]


def test_a_users_variant_may_not_take_a_built_in_id() -> None:
    with pytest.raises(LatentcyError, match="two variants with the id precision/fp16"):
        merge(BUILTIN, [Variant("fp16", "Mine.")])
    assert merge(BUILTIN, [Variant("fp16", "Mine.", group="distillation")])


def test_a_reference_has_to_exist_in_the_same_group() -> None:
    with pytest.raises(LatentcyError, match="held against 'distilled'"):
        merge(BUILTIN, [Variant("mine", "Mine.", reference="distilled")])
