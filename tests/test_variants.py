"""The built-in variants, variants files, and choosing among them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.loading import SCHEDULER_CLASSES
from latentcy.pipelines.variants import (
    BUILTIN,
    EVERY,
    STACK,
    Needs,
    Quality,
    Tolerance,
    Variant,
    load_variants,
    merge,
    select,
    with_references,
)
from latentcy.pipelines.workload import SCHEDULERS, workload

CPU = Device(kind="cpu", index=0, name="a processor", slug="a-processor")
TURING = Device(kind="cuda", index=0, name="T4", slug="t4", capability=(7, 5))
AMPERE = Device(kind="cuda", index=0, name="A100", slug="a100", capability=(8, 0))
HOPPER = Device(kind="cuda", index=0, name="H100", slug="h100", capability=(9, 0))
RADEON = Device(kind="cuda", index=0, name="MI300", slug="mi300")
BY_ID = {each.id: each for each in EVERY}
IMPORT = "from latentcy import Variant\n"


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
        for each in EVERY
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
        {"steps": 0},
        {"steps": 20.0},
        {"steps": 10**30},
        {"control": "no"},
        {"speed_gated": "false"},
        {"memory_gated": 1},
        {"tf32": None},
        {"changes": None},
        {"ssim_reference": 3},
        {"no_slower_on": "cuda"},
        {"scheduler": "euler"},
        {"observed_batch": -1},
        {"needs": "cuda"},
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


def test_a_groups_name_takes_the_whole_group() -> None:
    assert select(["stack"], BUILTIN, STACK) == STACK
    assert [each.group for each in select(["distillation"], BUILTIN, STACK)] == 3 * ["distillation"]


def test_what_runs_on_request_leaves_other_choices_as_they_were() -> None:
    assert select(None, BUILTIN, STACK) == BUILTIN
    for name in {each.name for each in BUILTIN}:
        assert select([name], BUILTIN, STACK) == select([name], BUILTIN)


def test_what_runs_on_request_is_chosen_by_name_or_id_with_its_references() -> None:
    chosen = select(["stack/fp16", "fastest"], BUILTIN, STACK)
    assert [each.id for each in chosen] == ["stack/fp16", "stack/fastest"]
    assert [each.id for each in with_references(select(["compile"], BUILTIN, STACK), EVERY)] == [
        "stack/baseline",
        "stack/fp16",
        "stack/compile",
    ]


def test_an_unknown_name_is_also_compared_with_what_runs_on_request() -> None:
    with pytest.raises(LatentcyError) as caught:
        select(["fastestt"], BUILTIN, STACK)
    assert "'fastest'" in caught.value.do and "stack" in caught.value.expected


def test_the_stack_is_held_against_its_own_fp32_without_tf32() -> None:
    assert merge(EVERY, ()) == EVERY
    baseline = BY_ID["stack/baseline"]
    assert (baseline.dtype, baseline.tf32, baseline.prepare) == ("float32", False, None)
    for each in STACK:
        assert each.reference in ("baseline", "fp16") and not each.tf32
        assert each is baseline or each.ssim_reference == "baseline"
        assert each is baseline or (each.quality.ssim and each.quality.clip_drop)


def test_what_compiles_is_observed_in_the_shape_that_is_timed() -> None:
    compiling = [each for each in STACK if each.needs.compiler or each.name == "cuda-graphs"]
    assert compiling and all(each.observed_batch == 1 for each in compiling)


@pytest.mark.parametrize("variant", STACK, ids=lambda each: each.name)
def test_a_refusal_is_one_clause(variant: Variant) -> None:
    for device in (CPU, TURING, AMPERE, HOPPER, RADEON):
        reason = variant.refusal(device)
        assert reason is None or (
            reason.startswith("it needs ") and "\n" not in reason and not reason.endswith(".")
        )


@pytest.mark.parametrize(
    ("needs", "device", "reason"),
    [
        (Needs(), RADEON, None),
        (Needs(kinds=("cuda",)), CPU, "it needs a CUDA GPU, and this is a CPU"),
        (Needs(capability=(8, 9)), CPU, None),
        (
            Needs(capability=(8, 9)),
            AMPERE,
            "it needs compute capability 8.9 or later, and A100 has 8.0",
        ),
        (Needs(capability=(8, 9)), HOPPER, None),
        (
            Needs(capability=(8, 0)),
            RADEON,
            "it needs an NVIDIA GPU of compute capability 8.0 or later",
        ),
        (
            Needs(packages=("no-such-package>=2",)),
            CPU,
            "it needs no-such-package>=2, which is not installed",
        ),
        (Needs(packages=("torch>=2.4",)), CPU, None),
    ],
)
def test_what_is_missing_is_said(needs: Needs, device: Device, reason: str | None) -> None:
    assert needs.missing(device) == reason


def test_a_package_that_is_too_old_is_told_with_its_version() -> None:
    assert "it needs torch>=99, and " in (Needs(packages=("torch>=99",)).missing(CPU) or "")


def test_a_missing_compiler_is_told_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in (BY_ID["stack/compile"].refusal(CPU) or "")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    assert "C++ compiler" in (BY_ID["stack/compile"].refusal(CPU) or "")


@pytest.mark.parametrize("wrong", [{"kinds": ("gpu",)}, {"kinds": ()}, {"packages": ("a b",)}])
def test_a_need_that_cannot_be_meant_is_refused(wrong: dict) -> None:
    with pytest.raises(LatentcyError):
        Needs(**wrong)


def test_a_variants_own_steps_and_scheduler_take_the_workloads_place() -> None:
    size = {"height": 64, "width": 64, "guidance_scale": 2.0}
    quick = BY_ID["stack/dpm-20"]
    made = workload("single", **size, steps=quick.steps, scheduler=quick.scheduler)
    assert (made.steps, made.scheduler) == (20, "dpm")
    assert workload("single", **size, steps=None, scheduler=None) == workload("single", **size)


def test_every_scheduler_that_a_variant_may_name_can_be_loaded() -> None:
    assert tuple(SCHEDULER_CLASSES) == SCHEDULERS


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
