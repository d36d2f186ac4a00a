"""Faulty variants beside healthy ones: each fails for its own reason, the healthy ones pass."""

from __future__ import annotations

import json
import textwrap

import pytest

from whole_run import assert_no_traceback, benchmark_process

pytestmark = pytest.mark.system

FAULTS = textwrap.dedent(
    """
    import torch
    from latentcy import Quality, Tolerance, Variant

    KEPT = Quality(ssim=Tolerance(0.95, "same weights, same noise"),
                   clip_drop=Tolerance(0.02, "same weights, same noise"))

    def halve_the_unet(pipeline):
        forward = pipeline.unet.forward
        def halved(*arguments, **settings):
            output = forward(*arguments, **settings)
            return tuple(0.5 * part for part in output) if isinstance(output, tuple) else output
        pipeline.unet.forward = halved

    def ignore_the_prompt(pipeline):
        encode = pipeline.encode_prompt
        def blind(prompt, *arguments, **settings):
            empty = "" if isinstance(prompt, str) else [""] * len(prompt)
            return encode(empty, *arguments, **settings)
        pipeline.encode_prompt = blind

    def decode_to_nan(pipeline):
        hook = lambda module, inputs, output: torch.full_like(output, float("nan"))
        pipeline.vae.decoder.conv_out.register_forward_hook(hook)

    SHORT = {"reference": "sound", "ssim_reference": "sound", "steps": 20, "quality": KEPT}
    VARIANTS = [
        Variant("sound", "Twenty steps.", **SHORT),
        Variant("halved", "The UNet's output halved.", prepare=halve_the_unet, **SHORT),
        Variant("blind", "The prompt ignored.", prepare=ignore_the_prompt, **SHORT),
        Variant("nan", "The decoder returns NaN.", prepare=decode_to_nan, **SHORT),
        Variant("healthy", "Nothing.", **SHORT),
    ]
    """
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One run of all of them on the miniature."""
    folder = tmp_path_factory.mktemp("faults")
    file = folder / "faults.py"
    file.write_text(FAULTS)
    return benchmark_process(
        folder,
        "--model=miniature",
        f"--variants={file}",
        "--only=sound,halved,blind,nan,healthy",
        "--images=6",
        "-k",
        "test_no_image_is_black or test_quality",
    )


@pytest.fixture(scope="module")
def verdicts(outcome):
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    return {
        record["variant"]: {one["gate"]: one for one in record["verdicts"]} for record in records
    }


def test_the_run_fails(outcome):
    assert outcome.status == 1
    assert "FAILED: 3 of 5 variants failed" in outcome.text
    assert_no_traceback(outcome)


@pytest.mark.parametrize("variant", ["sound", "healthy"])
def test_healthy_variants_pass(verdicts, variant):
    assert {one["status"] for one in verdicts[variant].values()} <= {"passed", "inconclusive"}
    assert verdicts[variant]["black images"]["status"] == "passed"


def test_a_halved_unet_fails_by_its_images(verdicts):
    assert verdicts["halved"]["SSIM"]["status"] == "failed"
    assert "below the floor of 0.95" in verdicts["halved"]["SSIM"]["reason"]


def test_an_ignored_prompt_fails_by_clip(verdicts):
    assert verdicts["blind"]["CLIP"]["status"] == "failed"
    assert "more than the allowed" in verdicts["blind"]["CLIP"]["reason"]


def test_nan_from_the_decoder_is_named_and_never_scored(verdicts):
    said = verdicts["nan"]
    assert said["black images"]["status"] == "failed"
    assert "non-finite decoder output" in said["black images"]["reason"]
    assert "vae" in said["black images"]["reason"]
    assert said["SSIM"]["status"] == said["CLIP"]["status"] == "failed"
    assert "not a number" in said["CLIP"]["reason"]
