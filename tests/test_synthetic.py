"""Random weights in the real architectures: their shapes, their sameness, and sound images."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import UNet2DConditionModel

from latentcy.measure.images.health import look
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.families.stable_diffusion import POSITIONS, VOCABULARY, tokenizer
from latentcy.pipelines.families.stable_diffusion import SYNTHETIC as PARTS
from latentcy.pipelines.loading import load_pipeline
from latentcy.pipelines.models import weights as weights_module
from latentcy.pipelines.models.catalog import KNOWN, lacking, resolve_model
from latentcy.pipelines.models.synthetic import (
    Synthetic,
    build_pipeline,
    configuration,
    empty_part,
)
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import BUILTIN
from latentcy.pipelines.workload import PUBLISHED_PROMPTS, workload

CPU = find_device("cpu")
BY_ID = {each.id: each for each in BUILTIN}
PLAIN = BY_ID["precision/baseline"]
SMALL = Synthetic(seed=15, small=True)
MODEL = KNOWN["sd15-synthetic-small"]
PUBLISHED = ("precision", "distillation")
RUNNABLE = [each.id for each in BUILTIN if each.group in PUBLISHED and not each.refusal(CPU)]
COMPONENTS = ("unet", "vae", "text_encoder")

STATE = """
import torch
from latentcy.pipelines.models.synthetic import Synthetic, build_pipeline
from test_synthetic import SMALL, state
pipeline = build_pipeline(
    SMALL, denoiser="unet", decoder="vae", dtype=torch.float16, device=torch.device("cpu")
)
print(state(pipeline))
"""


def build(synthetic: Synthetic = SMALL, dtype: torch.dtype = torch.float32, **parts: str):
    settings = {"denoiser": "unet", "decoder": "vae", **parts}
    return build_pipeline(synthetic, dtype=dtype, device=CPU.torch, **settings)


def state(pipeline) -> str:
    """A digest of every number that the pipeline's parts hold."""
    digest = hashlib.sha256()
    for component in COMPONENTS:
        for name, tensor in getattr(pipeline, component).state_dict().items():
            digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("part", "parameters"),
    [
        ("unet", 859_520_964),
        ("unet-distilled", 482_346_884),
        ("vae", 83_653_863),
        ("vae-tiny", 2_445_063),
        ("text_encoder", 123_060_480),
    ],
)
def test_every_part_has_as_many_parameters_as_the_published_one(part: str, parameters: int) -> None:
    built = empty_part(Synthetic(seed=15), part)
    assert sum(each.numel() for each in built.parameters()) == parameters


def test_the_distilled_unet_is_the_base_one_less_its_mid_block() -> None:
    settings = configuration(Synthetic(seed=15), "unet-distilled")
    del settings["mid_block_type"]
    with torch.device("meta"):
        base = UNet2DConditionModel(**settings)
    assert sum(each.numel() for each in base.parameters()) == 579_384_964


@pytest.mark.parametrize("part", PARTS)
def test_a_scaled_down_part_has_every_layer_of_the_published_one(part: str) -> None:
    full, small = (empty_part(each, part) for each in (Synthetic(seed=15), SMALL))
    assert [name for name, _ in small.named_parameters()] == [
        name for name, _ in full.named_parameters()
    ]


@pytest.mark.system
def test_a_seed_gives_the_same_weights_in_every_process() -> None:
    paths = [str(Path(weights_module.__file__).parents[3]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", STATE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == state(build(dtype=torch.float16)), done.stderr


def test_another_seed_gives_other_weights_and_another_digest() -> None:
    other = Synthetic(seed=14, small=True)
    assert state(build()) != state(build(other))
    assert len({each.digest for each in (SMALL, other, Synthetic(15), Synthetic(14))}) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_fp32_weights_rounded(dtype: torch.dtype) -> None:
    full, half = build(), build(dtype=dtype)
    for component in COMPONENTS:
        wanted = getattr(full, component).state_dict()
        for name, tensor in getattr(half, component).state_dict().items():
            assert torch.equal(tensor, wanted[name].to(tensor.dtype)), name


def test_the_text_encoder_counts_its_positions() -> None:
    found = dict(build().text_encoder.named_buffers())["embeddings.position_ids"]
    assert torch.equal(found, torch.arange(POSITIONS)[None])


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_published_variant_that_can_run_here_loads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_hub(monkeypatch)
    variant = BY_ID[name]
    assert lacking(MODEL, variant) is None
    pipeline = load_pipeline(MODEL, variant, CPU)
    assert (pipeline.unet.mid_block is None) == (variant.unet == "distilled")
    assert type(pipeline.vae).__name__.endswith("Tiny") == (variant.vae == "tiny")
    assert pipeline.unet.dtype == getattr(torch, variant.resolved_dtype(CPU))


def test_the_scheduler_is_stable_diffusions() -> None:
    scheduler = load_pipeline(MODEL, PLAIN, CPU, scheduler="ddim").scheduler
    assert type(scheduler).__name__ == "DDIMScheduler"
    config = scheduler.config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (
        0.00085,
        0.012,
        "scaled_linear",
    )
    assert (config.steps_offset, config.set_alpha_to_one, config.clip_sample) == (1, False, False)


@pytest.mark.system
@pytest.mark.parametrize("parts", [{}, {"denoiser": "unet-distilled"}, {"decoder": "vae-tiny"}])
def test_fifty_steps_stay_far_inside_float16_and_make_an_image_that_is_not_flat(
    parts: dict[str, str],
) -> None:
    pipeline, largest = build(**parts), [0.0]

    def note(module, arguments, output) -> None:
        if isinstance(output, torch.Tensor):
            largest[0] = max(largest[0], float(output.detach().abs().max()))

    for component in COMPONENTS:
        for module in getattr(pipeline, component).modules():
            module.register_forward_hook(note)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2023))
    images = pipeline(
        PUBLISHED_PROMPTS[0], latents=noise, num_inference_steps=50, output_type="np"
    ).images
    assert 0 < largest[0] < torch.finfo(torch.float16).max / 16
    assert look(images)[0].ok
    clamped = ((images == 0) | (images == 1)).mean()
    assert clamped < 0.25 and images.std() > 0.03


@pytest.mark.parametrize("name", ["precision/fp16", "distillation/distilled-tiny-vae"])
def test_a_sampler_generates_sound_images(name: str) -> None:
    work = workload("batch", height=64, width=64, guidance_scale=MODEL.guidance_scale, steps=4)
    sampler = open_sampler(MODEL, BY_ID[name], CPU, work)
    seen = sampler.observe(list(PUBLISHED_PROMPTS), [1, 2], batch=2)
    healths = look(seen.images, seen.latents, seen.decoded)
    assert [each.reason for each in healths] == ["", ""]


def test_another_prompt_and_another_seed_give_other_images() -> None:
    work = workload("batch", height=64, width=64, guidance_scale=MODEL.guidance_scale, steps=10)
    sampler = open_sampler(MODEL, PLAIN, CPU, work)
    one, other = PUBLISHED_PROMPTS
    made = sampler.observe([one, other, one], [1, 1, 2], batch=3).images
    assert abs(made[0] - made[1]).max() > 0.01
    assert abs(made[0] - made[2]).max() > 0.01


def test_the_tokenizer_has_clips_size_and_takes_the_published_prompts_whole() -> None:
    found = tokenizer()
    assert (len(found), found.model_max_length) == (VOCABULARY, POSITIONS)
    for prompt in PUBLISHED_PROMPTS:
        ids = found(prompt).input_ids
        assert len(ids) <= POSITIONS
        assert (ids[0], ids[-1]) == (VOCABULARY - 2, VOCABULARY - 1)
        assert found.decode(ids, skip_special_tokens=True).split() == prompt.split()


def test_the_tokenizer_takes_any_character() -> None:
    found = tokenizer()
    ids = found("café ☕ 図").input_ids
    assert VOCABULARY - 1 not in ids[1:-1]
    assert found.decode(ids, skip_special_tokens=True).split() == ["café", "☕", "図"]


def test_a_synthetic_model_needs_no_hub_and_says_what_it_is_good_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_hub(monkeypatch)
    model, sentence = resolve_model("sd15-synthetic", CPU)
    assert (model.source, model.scorer, model.height) == ("synthetic", None, 512)
    assert "random weights (seed15-" in sentence and "latency and memory only" in sentence
    assert model.unjudged == "synthetic weights: scores mean nothing"


def test_models_with_trained_weights_are_judged() -> None:
    assert KNOWN["miniature"].unjudged is None and KNOWN["sd15"].unjudged is None


def test_synthetic_models_are_told_apart_by_what_names_their_weights() -> None:
    synthetic = [each for each in KNOWN.values() if each.source == "synthetic"]
    assert len({str(each.pipeline) for each in synthetic}) == len(synthetic) == 4
    for each in synthetic:
        assert each.synthetic is not None and each.synthetic.digest in str(each.pipeline)


def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise AssertionError("the hub was asked")

    weights_module._snapshot.cache_clear()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
