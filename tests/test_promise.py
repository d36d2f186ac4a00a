"""What a variant promises that states nothing: its reference's images, as its arithmetic allows."""

from __future__ import annotations

import json
import textwrap

import pytest

from latentcy.core.quality_limits import (
    BF16,
    NOTHING,
    SAME_ARITHMETIC,
    TF32_OR_FP16,
    promise_of,
)
from tiny import build_tiny
from whole_run import benchmark

VARIANTS = textwrap.dedent(
    """
    from latentcy import Quality, Variant

    def mirror(pipeline):
        decode = pipeline.vae.decode
        pipeline.vae.decode = lambda *a, **k: tuple(part.flip(-1) for part in decode(*a, **k))

    VARIANTS = [
        Variant("silent", "Mirrored, and says nothing.", prepare=mirror),
        Variant("open", "Mirrored, and promises nothing.", prepare=mirror, quality=Quality()),
        Variant("fewer", "Other steps, whose images nobody can expect.", steps=3),
        Variant("healthy", "Nothing."),
    ]
    """
)


@pytest.mark.parametrize(
    ("arithmetic", "same", "expected"),
    [
        ("float32", True, SAME_ARITHMETIC),
        ("tf32", True, TF32_OR_FP16),
        ("float16", True, TF32_OR_FP16),
        ("bfloat16", True, BF16),
        ("float32", False, NOTHING),
    ],
)
def test_the_coarser_the_arithmetic_the_less_is_promised(arithmetic, same, expected):
    assert promise_of(arithmetic, same_images=same) == expected


@pytest.mark.system
def test_a_variant_that_says_nothing_is_held_to_its_references_images(pytester, tmp_path):
    tiny = build_tiny(tmp_path / "tiny")
    file = tmp_path / "mine.py"
    file.write_text(VARIANTS)
    outcome = benchmark(
        pytester,
        f"--model={tiny}",
        f"--variants={file}",
        "--no-builtin",
        "--images=3",
        "--pairs=0",
        "-k=test_ssim",
    )
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    found = {
        one["variant"]: {each["gate"]: each["status"] for each in one["verdicts"]}
        for one in records
    }
    assert found["silent"] == {"SSIM": "failed"}
    assert found["healthy"] == {"SSIM": "passed"}
    assert outcome.status == 1
    assert not found.get("open") and not found.get("fewer")
