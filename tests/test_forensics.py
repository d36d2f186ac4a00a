"""A broken image is generated again with hooks, and the verdict says where the fault began."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import nn
from transformers import CLIPConfig

from latentcy.core.verdict import Verdict
from latentcy.gates.black_images import image_verdict
from latentcy.measure.diagnosis.investigation import Findings, investigate
from latentcy.measure.diagnosis.overflow import provoke_overflow
from latentcy.measure.images.health import ImageHealth, look
from latentcy.miniature.drawing import draw
from latentcy.miniature.world import scene
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import Generation, Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN, Variant
from latentcy.pipelines.workload import workload

CPU = find_device("cpu")
MODEL, _ = resolve_model("miniature", CPU)
PROMPTS = ["a red circle on a white background", "a blue fish on a gray background"]
SEEDS = [1, 2]
STEPS = 4


def opened(variant: Variant, steps: int = STEPS) -> Sampler:
    work = workload(
        "single", height=MODEL.height, width=MODEL.width, guidance_scale=MODEL.guidance_scale
    )
    return open_sampler(MODEL, variant, CPU, replace(work, steps=steps))


@pytest.fixture(scope="module")
def loaded() -> Sampler:
    return opened(Variant("fp32", "Nothing."))


@pytest.fixture
def sampler(loaded: Sampler, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sampler]:
    """One healthy sampler for all tests; what a test does through `hook` and `through` is undone"""
    handles: list[Any] = []
    pipeline = loaded.pipeline

    def hook(module: nn.Module, change: Callable[..., Any]) -> None:
        handles.append(module.register_forward_hook(change))

    def through(owner: Any, name: str, change: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        monkeypatch.setitem(
            owner.__dict__, name, lambda *given, **more: change(original(*given, **more))
        )

    monkeypatch.setattr(loaded, "hook", hook, raising=False)
    monkeypatch.setattr(loaded, "through", through, raising=False)
    kept = dict(pipeline.vae.config), dict(pipeline.scheduler.config)
    yield loaded
    for handle in handles:
        handle.remove()
    pipeline.safety_checker = pipeline.feature_extractor = None
    pipeline.vae.register_to_config(scaling_factor=kept[0]["scaling_factor"])
    pipeline.scheduler.register_to_config(prediction_type=kept[1]["prediction_type"])


def judged(
    sampler: Sampler, *, batch: int = 2
) -> tuple[tuple[ImageHealth, ...], Findings | None, Verdict]:
    made = sampler.observe(PROMPTS, SEEDS, batch=batch)
    healths = look(made.images, made.latents, made.decoded, made.flagged)
    findings = investigate(sampler, PROMPTS, SEEDS, healths, batch=batch)
    return healths, findings, image_verdict(healths, findings)


def reason(sampler: Sampler, *, batch: int = 2) -> str:
    verdict = judged(sampler, batch=batch)[2]
    assert verdict.status == "failed"
    return verdict.reason


def every(number: int, of: int, change: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    """A forward hook that changes the output of the number-th call of each `of`."""
    calls = [0]

    def hook(module: nn.Module, args: Any, output: torch.Tensor) -> Any:
        calls[0] += 1
        return change(output.clone()) if (calls[0] - 1) % of == number - 1 else None

    return hook


def spoiled(value: float, *where: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(output: torch.Tensor) -> torch.Tensor:
        output[where] = value
        return output

    return change


def blank(output: Any) -> Any:
    """The same with zeros in all of its tensors."""
    if isinstance(output, tuple):
        return tuple(blank(each) for each in output)
    return torch.zeros_like(output) if isinstance(output, torch.Tensor) else output


def blanked(module: nn.Module, args: Any, output: Any) -> Any:
    if isinstance(output, dict):
        return type(output)({name: blank(value) for name, value in output.items()})
    return blank(output)


def test_healthy_images_are_not_repeated(sampler: Sampler) -> None:
    healths, findings, verdict = judged(sampler)
    assert all(health.ok for health in healths)
    assert (findings, verdict.status) == (None, "passed")


def test_nan_in_one_channel_of_the_unet_at_step_2_of_4_is_named_with_step_module_and_dtype(
    sampler: Sampler,
) -> None:
    module = sampler.pipeline.unet.mid_block.resnets[0].conv1
    sampler.hook(module, every(2, STEPS, spoiled(torch.nan, 0, 3)))
    healths, findings, verdict = judged(sampler)
    origin = findings.findings[0].origin
    assert [health.reason for health in healths] == ["non-finite latents", ""]
    assert (origin.component, origin.module) == ("unet", "mid_block.resnets.0.conv1")
    assert (origin.dtype, origin.stage) == ("float32", "at denoising step 2 of 4 (timestep 501)")
    assert "1 of 128 channels" in origin.amount and origin.amount.startswith("NaN in 16 of")
    assert "image 1 (seed 1) repeated with its batch of 2" in verdict.reason
    assert "in float32, on call 2 at denoising step 2 of 4" in verdict.reason


def test_the_largest_magnitude_before_the_birth_is_stated_with_its_module(
    sampler: Sampler,
) -> None:
    decoder = sampler.pipeline.vae.decoder
    sampler.hook(decoder.conv_norm_out, every(1, 1, spoiled(51230.0, 0, 0, 0, 0)))
    sampler.hook(decoder.conv_out, every(1, 1, spoiled(torch.inf, 0, 0, 0, 0)))
    said = reason(sampler)
    assert "was born in vae, in decoder.conv_out, in float32, on call 1 while decoding" in said
    assert "the largest magnitude before it: 51230 in vae.decoder.conv_norm_out" in said


def test_an_overflow_of_float16_in_the_text_encoder_is_named() -> None:
    def overflow(pipeline: Any) -> None:
        with torch.no_grad():
            pipeline.text_encoder.get_submodule(name).weight.mul_(3e4)

    name = "encoder.layers.1.mlp.fc2"
    variant = Variant("overflow", "A text layer scaled.", dtype="float16", prepare=overflow)
    said = reason(opened(variant, steps=1))
    assert "(infinity in " in said
    assert f"born in text_encoder, in {name}, in float16, on call 1 while encoding" in said
    assert "float16 ends at 65504" in said


def test_the_overflow_control_is_named_with_stage_and_magnitudes() -> None:
    names: list[str] = []
    variant = Variant(
        "control",
        "A convolution scaled.",
        dtype="float16",
        prepare=lambda pipeline: names.append(provoke_overflow(pipeline.vae)),
    )
    said = reason(opened(variant, steps=1), batch=1)
    assert f"born in vae, in {names[0]}, in float16, on call 1 while decoding" in said
    assert "float32 reaches" in said and "the largest magnitude before it: " in said


def test_an_infinity_that_becomes_finite_again_is_found_behind_a_black_image(
    sampler: Sampler,
) -> None:
    decoder = sampler.pipeline.vae.decoder
    sampler.hook(decoder.mid_block.resnets[0].conv1, every(1, 1, spoiled(torch.inf, 1, 3)))
    sampler.hook(decoder.conv_out, lambda m, a, output: torch.nan_to_num(output, -1, -1, -1))
    healths, findings, verdict = judged(sampler)
    assert [health.reason for health in healths] == ["", "black"]
    assert findings.findings[0].origin.module == "decoder.mid_block.resnets.0.conv1"
    assert "infinity in 64 of 8192 values, 1 of 64 channels" in verdict.reason
    assert "later all values were finite again" in verdict.reason


def test_a_companions_nan_does_not_explain_a_flat_image(sampler: Sampler) -> None:
    def spoil(made: tuple) -> tuple:
        decoded = made[0].clone()
        decoded[0], decoded[1] = -1, torch.nan
        return (decoded,)

    sampler.through(sampler.pipeline.vae, "decode", spoil)
    said = reason(sampler)
    assert "black (1)" in said and "non-finite decoder output (1)" in said
    assert "its contrast was lost while decoding: the raw decoder output is black" in said
    assert "; in another image of the batch the first non-finite value (NaN in" in said


def test_nan_born_in_the_scheduler_is_laid_to_it(sampler: Sampler) -> None:
    sampler.through(sampler.pipeline.scheduler, "step", lambda made: (made[0] * torch.nan,))
    said = reason(sampler)
    assert "born in scheduler, in DDIMScheduler.step" in said
    assert "at denoising step 1 of 4 (timestep 751)" in said


def test_nan_made_by_decode_itself_is_laid_to_it(sampler: Sampler) -> None:
    sampler.through(sampler.pipeline.vae, "decode", lambda made: (made[0] * torch.nan,))
    assert "born in vae, in decode, in float32, on call 1 while decoding" in reason(sampler)


def test_a_zeroed_unet_that_makes_flat_latents_is_named_with_its_step(sampler: Sampler) -> None:
    sampler.pipeline.scheduler.register_to_config(prediction_type="sample")
    sampler.hook(sampler.pipeline.unet, blanked)
    healths, _, verdict = judged(sampler)
    assert {health.kind for health in healths} == {"flat"}
    assert "the UNet's output had no spread at denoising step 1 of 4" in verdict.reason
    assert "the first constant output being that of unet" in verdict.reason


def test_latents_that_go_flat_in_the_scheduler_are_named_with_their_step(
    sampler: Sampler,
) -> None:
    calls = [0]

    def wipe(made: tuple) -> tuple:
        calls[0] += 1
        return (made[0] * (0 if calls[0] % STEPS == 0 else 1),)

    sampler.through(sampler.pipeline.scheduler, "step", wipe)
    said = reason(sampler)
    assert "lost their spread in the scheduler at denoising step 4 of 4 (timestep 1)" in said


def test_a_prompt_embedding_without_spread_is_named(sampler: Sampler) -> None:
    sampler.hook(sampler.pipeline.text_encoder, blanked)
    said = reason(sampler)
    assert "the prompt's embedding is constant over its tokens from the text encoder on" in said


@pytest.mark.parametrize("name", ["decoder", "decoder.conv_norm_out", "decoder.conv_out"])
def test_a_zeroed_part_of_the_decoder_is_named(sampler: Sampler, name: str) -> None:
    sampler.hook(sampler.pipeline.vae.get_submodule(name), blanked)
    healths, _, verdict = judged(sampler)
    assert [health.reason for health in healths] == ["flat", "flat"]
    assert "its contrast was lost while decoding: the raw decoder output is flat" in verdict.reason
    assert f"the first constant output being that of vae.{name} (" in verdict.reason


def test_a_decoder_that_only_darkens_is_told_with_its_values(sampler: Sampler) -> None:
    sampler.through(sampler.pipeline.vae, "decode", lambda made: (made[0] - 4,))
    said = reason(sampler)
    assert "2 of 2 images: black" in said
    assert "the raw decoder output is black (values from -" in said


@pytest.mark.parametrize("factor", [10, 30])
def test_a_fog_from_a_wrong_scaling_factor_is_laid_before_the_decoder(
    sampler: Sampler, factor: int
) -> None:
    vae = sampler.pipeline.vae
    vae.register_to_config(scaling_factor=vae.config.scaling_factor * factor)
    said = reason(sampler)
    assert "2 of 2 images: low contrast (2)" in said
    assert "divided by the scaling factor" in said


def test_an_image_blacked_by_post_processing_is_told_from_a_black_one(sampler: Sampler) -> None:
    sampler.through(sampler.pipeline.image_processor, "postprocess", np.zeros_like)
    said = reason(sampler)
    assert "blacked after decoding, although no flag was raised (2)" in said
    assert "the decoded image was sound and became black in post-processing" in said


def install_checker(sampler: Sampler, checker: Any) -> None:
    """The real pipeline calls both on every image, the extractor with PIL images."""

    def extract(images: list, return_tensors: str) -> Any:
        pixels = torch.stack([torch.from_numpy(np.array(image)).float() / 255 for image in images])
        inputs = SimpleNamespace(pixel_values=pixels.permute(0, 3, 1, 2)[..., ::2, ::2])
        inputs.to = lambda device: inputs
        return inputs

    sampler.pipeline.safety_checker = checker
    sampler.pipeline.feature_extractor = extract


def real_checker(threshold: float) -> StableDiffusionSafetyChecker:
    """diffusers' own, of random weights: it flags what is more alike than the threshold."""
    small = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = {**small, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(vision_config=vision, text_config=small, projection_dim=8)
    checker = StableDiffusionSafetyChecker(config).eval()
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(threshold)
        checker.special_care_embeds_weights.fill_(2.0)
    return checker


def own_checker(*, black: bool, flags: list[bool]) -> Callable[..., Any]:
    def check(images: torch.Tensor, clip_input: torch.Tensor) -> Any:
        if black:
            images[:] = 0
        return images, flags[: len(images)]

    return check


def test_the_real_checkers_black_is_told_from_numerical_black(sampler: Sampler) -> None:
    install_checker(sampler, real_checker(-2.0))
    healths, _, verdict = judged(sampler)
    assert {health.reason for health in healths} == {
        "blacked after decoding, by the safety checker (flagged)"
    }
    assert verdict.status == "failed"
    assert "became black in run_safety_checker" in verdict.reason


def test_a_real_checker_that_flags_nothing_changes_nothing(sampler: Sampler) -> None:
    install_checker(sampler, real_checker(2.0))
    assert sampler.observe(PROMPTS, SEEDS).flagged == (False, False)
    assert judged(sampler)[2].status == "passed"


def test_what_the_checker_blacks_in_place_is_not_blacked_where_it_was_captured(
    sampler: Sampler,
) -> None:
    healthy = sampler.observe(PROMPTS, SEEDS).decoded
    install_checker(sampler, real_checker(-2.0))
    assert np.array_equal(sampler.observe(PROMPTS, SEEDS).decoded, healthy)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_nan_that_is_flagged_as_nsfw_is_numerical(sampler: Sampler) -> None:
    install_checker(sampler, real_checker(-2.0))
    sampler.hook(sampler.pipeline.vae.decoder.conv_out, every(1, 1, spoiled(torch.nan, 0, 1, 2, 3)))
    healths, _, verdict = judged(sampler)
    assert healths[0].reason == ("non-finite decoder output: numerical, though flagged as NSFW")
    assert healths[1].reason == "blacked after decoding, by the safety checker (flagged)"
    assert "born in vae, in decoder.conv_out" in verdict.reason


def test_black_that_is_flagged_as_nsfw_is_numerical(sampler: Sampler) -> None:
    install_checker(sampler, real_checker(-2.0))
    sampler.through(sampler.pipeline.vae, "decode", lambda made: (made[0] - 4,))
    said = reason(sampler)
    assert "black: numerical, though flagged as NSFW (2)" in said
    assert "its contrast was lost while decoding" in said


def test_a_checker_that_blacks_without_a_flag_is_named(sampler: Sampler) -> None:
    install_checker(sampler, own_checker(black=True, flags=[False, False]))
    said = reason(sampler)  # -1..1 becomes 0..1, so that zeros are grey
    assert "flattened after decoding, although no flag was raised (2)" in said
    assert "became flat in run_safety_checker" in said


def test_a_flagged_image_that_is_not_blacked_is_left_raw_by_the_pipeline(
    sampler: Sampler,
) -> None:
    install_checker(sampler, own_checker(black=False, flags=[True, False]))
    healths, _, verdict = judged(sampler)
    assert [health.ok for health in healths] == [False, True]
    assert "flagged as NSFW and left as raw decoder output, though not blacked" in verdict.reason


def test_a_flagged_image_that_is_sound_passes_and_is_counted() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, 16, 16, 3))
    decoded = image.transpose(0, 3, 1, 2) * 2 - 1
    verdict = image_verdict(look(image, decoded=decoded, flagged=[True]))
    assert verdict.status == "passed"
    assert "1 flagged as NSFW, though sound" in verdict.reason


def test_only_the_broken_images_batch_is_repeated_and_then_the_image_alone(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sampler.pipeline.vae.decoder.conv_out

    def in_company(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        return spoiled(torch.nan, 1)(output.clone()) if len(output) > 1 else None

    sampler.hook(module, in_company)
    prompts, seeds = PROMPTS * 2 + PROMPTS[:1], [1, 2, 3, 4, 5]
    made = sampler.observe(prompts, seeds, batch=2)
    healths = look(made.images, made.latents, made.decoded, made.flagged)
    asked: list[list[int]] = []
    observe = sampler.observe
    monkeypatch.setattr(
        sampler, "observe", lambda p, s, **more: asked.append(list(s)) or observe(p, s, **more)
    )
    findings = investigate(sampler, prompts, seeds, healths, batch=2)
    assert [health.ok for health in healths] == [True, False, True, False, True]
    assert asked == [[1, 2], [2]]
    assert findings.findings[0].alone is True
    assert findings.sentence.endswith("alone, that image is sound")


def test_a_fault_that_does_not_come_again_is_said_so(sampler: Sampler) -> None:
    once = ImageHealth(False, "black", 1, kind="flat")
    findings = investigate(sampler, PROMPTS, SEEDS, [ImageHealth(True, index=0), once], batch=2)
    assert "it was sound, so the fault does not come again with the same noise" in findings.sentence


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("two\nlines"), "with hooks, raised ValueError (two)"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "with hooks, ran out of memory"),
        (MemoryError(), "with hooks, ran out of memory"),
    ],
)
def test_the_verdict_stands_when_the_second_run_raises(error: Exception, words: str) -> None:
    def raise_it(*given: Any, **more: Any) -> Generation:
        raise error

    failing = SimpleNamespace(pipeline=SimpleNamespace(), observe=raise_it, device=CPU)
    broken = [ImageHealth(False, "black", 0, kind="flat")]
    verdict = image_verdict(broken, investigate(failing, ["a"], [1], broken, batch=4))
    assert verdict.status == "failed"
    assert verdict.reason.startswith("1 of 1 images: black (1); where the fault lies is not known")
    assert words in verdict.reason


def test_an_origin_is_kept_when_the_second_run_raises_after_it(sampler: Sampler) -> None:
    sampler.hook(sampler.pipeline.unet.conv_in, every(1, 1, spoiled(torch.nan, 0)))
    sampler.hook(
        sampler.pipeline.vae.decoder.conv_in, lambda *given: (_ for _ in ()).throw(OSError("gone"))
    )
    broken = [ImageHealth(False, "non-finite latents", 0, kind="non-finite")]
    said = investigate(sampler, PROMPTS, SEEDS, broken, batch=2).sentence
    assert "born in unet, in conv_in" in said
    assert said.endswith("then the second run raised OSError (gone)")


def test_nothing_is_left_behind(sampler: Sampler) -> None:
    pipeline = sampler.pipeline
    broken = [ImageHealth(False, "black", 0, kind="flat")]
    before = sampler.observe(PROMPTS, SEEDS).images
    investigate(sampler, PROMPTS, SEEDS, broken, batch=2)
    for part in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        assert not any(each._forward_hooks or each._forward_pre_hooks for each in part.modules())
    for owner in (pipeline, pipeline.vae, pipeline.scheduler, pipeline.image_processor):
        assert not {"encode_prompt", "decode", "step", "postprocess"} & set(vars(owner))
    assert np.array_equal(sampler.observe(PROMPTS, SEEDS).images, before)


def test_compiled_parts_are_looked_into(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = sampler.pipeline.vae.decoder
    with torch.no_grad():
        weight = decoder.conv_out.weight.clone()
        decoder.conv_out.weight[0, 0, 0, 0] = torch.nan
    compiled = torch.compile(decoder.forward, backend="eager")
    monkeypatch.setitem(decoder.__dict__, "forward", compiled)
    try:
        said = reason(sampler)
    finally:
        with torch.no_grad():
            decoder.conv_out.weight.copy_(weight)
    assert "born in vae, in decoder.conv_out" in said and "its weights hold NaN" in said


def on_the_cpu(variant: Variant) -> bool:
    return variant.refusal(CPU) is None


@pytest.mark.parametrize("variant", list(filter(on_the_cpu, BUILTIN)), ids=lambda each: each.id)
def test_every_builtin_variant_is_healthy(variant: Variant) -> None:
    made = opened(variant).observe(PROMPTS, SEEDS)
    healths = look(made.images, made.latents, made.decoded, made.flagged)
    assert [health.reason for health in healths] == ["", ""]


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    rng = random.Random(11)
    return np.stack([draw(scene(rng), rng) for _ in range(300)]) / 255


def test_no_drawn_scene_is_called_broken(drawn: np.ndarray) -> None:
    assert [health for health in look(drawn) if not health.ok] == []


@pytest.mark.parametrize("level", [0.35, 0.5, 0.8])
def test_every_scene_at_a_fifth_of_its_contrast_is_called_broken(
    drawn: np.ndarray, level: float
) -> None:
    fog = level + (drawn - drawn.mean(axis=(1, 2), keepdims=True)) / 5
    assert [health for health in look(fog.clip(0, 1)) if health.ok] == []
