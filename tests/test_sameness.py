"""The same image again: what repeat, new process, batch, history and seed see, and let pass."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import emulated
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.gates.invariants import repeatability as sameness
from latentcy.gates.invariants.image_bounds import (
    EXACT,
    furthest,
    least_apart,
    rounding,
    same,
    same_code,
)
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import MINIATURE, Model, resolve_model
from latentcy.pipelines.models.synthetic import Synthetic
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.stages import with_few_steps
from latentcy.pipelines.variants import BUILTIN, GROUP_WORKLOADS, Variant
from latentcy.pipelines.workload import Workload, workload
from latentcy.remote.environment import OtherEnvironment
from tiny import build_tiny

CPU = find_device("cpu")
BASELINE = BUILTIN[0]
ON_CPU = [each for each in BUILTIN if not each.refusal(CPU)]
GATES: dict[str, Callable[..., Verdict]] = {
    "repeat": sameness.repeat,
    "batch": sameness.batch,
    "history": sameness.history,
    "seed": sameness.seed,
}
FEW = 3  # steps

Patch = pytest.MonkeyPatch


def work_of(model: Model, variant: Variant) -> Workload:
    return workload(
        GROUP_WORKLOADS[variant.group],
        height=model.height,
        width=model.width,
        guidance_scale=model.guidance_scale,
    )


def opened(model: Model, variant: Variant = BASELINE) -> Sampler:
    return open_sampler(model, variant, CPU, work_of(model, variant))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Sampler:
    return opened(resolve_model(str(folder), CPU)[0])


@pytest.fixture(scope="module", params=emulated.variants(ON_CPU))
def healthy(request: pytest.FixtureRequest) -> Sampler:
    return opened(MINIATURE, request.param)


def after_unet(sampler: Sampler, patch: Patch, change: Callable[[torch.Tensor], Any]) -> None:
    """Have what the UNet predicts go through `change`."""
    forward = sampler.pipeline.unet.forward

    def changed(*arguments: Any, **settings: Any) -> Any:
        noise, *rest = forward(*arguments, **settings)
        return (change(noise), *rest)

    patch.setattr(sampler.pipeline.unet, "forward", changed)


def after_decoder(sampler: Sampler, patch: Patch, change: Callable[[torch.Tensor], Any]) -> None:
    """Have what the decoder returns go through `change`."""
    decode = sampler.pipeline.vae.decode
    patch.setattr(
        sampler.pipeline.vae, "decode", lambda *z, **settings: (change(decode(*z, **settings)[0]),)
    )


def after_encoding(sampler: Sampler, patch: Patch, change: Callable[[torch.Tensor], Any]) -> None:
    """Have the embeddings of the prompts go through `change`."""
    encode = sampler.pipeline.encode_prompt

    def changed(*arguments: Any, **settings: Any) -> Any:
        text, unconditional = encode(*arguments, **settings)
        return change(text), unconditional

    patch.setattr(sampler.pipeline, "encode_prompt", changed)


# Healthy cases.


@pytest.mark.parametrize("gate", GATES)
def test_every_cpu_variant_of_the_miniature_passes(healthy: Sampler, gate: str) -> None:
    verdict = GATES[gate](healthy, steps=FEW)
    assert (verdict.gate, verdict.status) == (gate, PASSED), verdict.reason


@pytest.mark.parametrize("first", [0, 7, 99])
@pytest.mark.parametrize("gate", GATES)
def test_other_seeds_pass_too(tiny: Sampler, gate: str, first: int) -> None:
    verdict = GATES[gate](tiny, seeds=(first, first + 1, first + 2), steps=FEW)
    assert verdict.status == PASSED, verdict.reason


@pytest.mark.parametrize("gate", GATES)
def test_the_sampler_and_the_random_states_are_left_as_found(tiny: Sampler, gate: str) -> None:
    def state() -> tuple[Any, ...]:
        scheduler = {name: repr(value) for name, value in vars(tiny.pipeline.scheduler).items()}
        arrays = np.random.get_state()[1].tolist()
        torch_state = torch.get_rng_state().tolist()
        return tiny.workload, scheduler, random.getstate(), arrays, torch_state

    before, pipeline = state(), tiny.pipeline
    GATES[gate](tiny, steps=FEW)
    assert state() == before
    assert tiny.pipeline is pipeline


# Repeat.


def test_fresh_noise_in_every_call_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    fresh = np.random.default_rng(0)  # no global state, so that only time tells
    after_unet(tiny, monkeypatch, lambda noise: noise * (1 + 1e-6 * fresh.standard_normal()))
    verdict = sameness.repeat(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "call 2 of 3 differs from the same image of call 1 by up to" in verdict.reason
    assert "the same code on a CPU gives the same bits" in verdict.reason


@pytest.mark.parametrize("odd_call", [1, 2, 3])
def test_one_call_of_three_that_differs_is_seen(
    tiny: Sampler, monkeypatch: Patch, odd_call: int
) -> None:
    calls = []

    def drift(text: torch.Tensor) -> torch.Tensor:
        calls.append(text)
        return text * 1.01 if len(calls) == odd_call else text

    after_encoding(tiny, monkeypatch, drift)
    verdict = sameness.repeat(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert ("call 3 of 3" in verdict.reason) == (odd_call != 2)


def test_images_that_hold_nan_are_never_the_same(tiny: Sampler, monkeypatch: Patch) -> None:
    after_decoder(tiny, monkeypatch, lambda image: image * float("nan"))
    for gate in GATES.values():
        verdict = gate(tiny, steps=FEW)
        assert verdict.status == FAILED
        assert "NaN or infinite pixels" in verdict.reason


# New process.


@pytest.mark.system
def test_a_process_of_its_own_gives_the_same_image_unless_it_hangs_on_the_hash_seed(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "variants.py"
    file.write_text(
        "from latentcy import Variant\n"
        "def prepare(pipeline):\n"
        "    pipeline.unet.conv_out.bias.data += hash('a string') % 1000 / 1e4\n"
        "VARIANTS = [Variant('hashed', 'c', prepare=prepare), Variant('sound', 'c')]\n"
    )
    model = resolve_model(str(folder), CPU)[0]
    namespace: dict[str, Any] = {}
    exec(file.read_text(), namespace)
    place = OtherEnvironment(sys.executable, device="cpu", threads=torch.get_num_threads())
    try:
        verdicts = {}
        for variant in namespace["VARIANTS"]:
            here = opened(model, variant)
            there = place.open(
                model=str(folder),
                variants_file=file,
                variant_id=variant.id,
                device="cpu",
                workload=replace(here.workload, steps=FEW),
            )
            verdicts[variant.name] = sameness.new_process(
                here, lambda texts, seeds, steps, there=there: there.images(texts, seeds), steps=FEW
            )
    finally:
        place.close()
    assert verdicts["sound"].status == PASSED, verdicts["sound"].reason
    assert verdicts["hashed"].status == FAILED
    assert "from a process of its own differs" in verdicts["hashed"].reason


def test_the_other_process_is_asked_for_the_steps_that_are_drawn_here(tiny: Sampler) -> None:
    asked = []

    def elsewhere(texts: Any, seeds: Any, steps: int) -> np.ndarray:
        asked.append(steps)
        with with_few_steps(tiny, steps) as short:
            return short.generate(texts, seeds).images

    assert sameness.new_process(tiny, elsewhere, steps=2).status == PASSED
    assert asked == [2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda image: image + 1e-3, "by up to 0.001"),
        (lambda image: image * np.nan, "NaN or infinite"),
        (lambda image: image[:0], "0 image(s)"),
        (lambda image: image[:, ::2], "64 by 32 pixels"),
    ],
    ids=["other", "nan", "none", "smaller"],
)
def test_another_image_from_elsewhere_fails(
    tiny: Sampler, wrong: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    def elsewhere(texts: Any, seeds: Any, steps: int) -> np.ndarray:
        with with_few_steps(tiny, steps) as short:
            return wrong(short.generate(texts, seeds).images)

    verdict = sameness.new_process(tiny, elsewhere, steps=FEW)
    assert verdict.status == FAILED
    assert words in verdict.reason


# Batch.


def test_images_in_the_wrong_places_are_seen_and_named(tiny: Sampler, monkeypatch: Patch) -> None:
    after_decoder(tiny, monkeypatch, lambda images: images.flip(0))
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "of 3 in a batch differs from the same image alone by up to" in verdict.reason
    assert "(it is image 1)" in verdict.reason or "(it is image 3)" in verdict.reason


def test_the_first_prompt_for_all_is_seen_and_named(tiny: Sampler, monkeypatch: Patch) -> None:
    after_encoding(tiny, monkeypatch, lambda text: text[:1].expand_as(text))
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "(it has the prompt of image 1)" in verdict.reason


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_the_first_prompt_for_all_is_seen_in_half_precision(
    tiny: Sampler, monkeypatch: Patch, variant: str
) -> None:
    half = opened(tiny.model, next(each for each in BUILTIN if each.name == variant))
    after_encoding(half, monkeypatch, lambda text: text[:1].expand_as(text))
    verdict = sameness.batch(half, steps=FEW)
    assert verdict.status == FAILED
    assert "(it has the prompt of image 1)" in verdict.reason


def test_the_first_noise_for_all_is_seen_and_named(tiny: Sampler, monkeypatch: Patch) -> None:
    prepare = tiny.pipeline.prepare_latents

    def first_only(*arguments: Any) -> torch.Tensor:
        latents = prepare(*arguments)
        return latents[:1].expand_as(latents)

    monkeypatch.setattr(tiny.pipeline, "prepare_latents", first_only)
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "(it has the noise of image 1)" in verdict.reason


def test_prompts_padded_to_the_longest_beside_them_are_seen(
    tiny: Sampler, monkeypatch: Patch
) -> None:
    pad, unpadded = tiny.pipeline.tokenizer, {}

    class ToTheLongest:
        def __getattr__(self, name: str) -> Any:
            return getattr(pad, name)

        def __call__(self, texts: Any, **settings: Any) -> Any:
            if settings.get("padding") == "max_length" and texts != [""] * len(texts):
                unpadded["length"] = max(len(pad(text).input_ids) for text in texts)
            return pad(texts, **settings | {"padding": "max_length"})

    monkeypatch.setattr(tiny.pipeline, "tokenizer", ToTheLongest())
    after_encoding(
        tiny,
        monkeypatch,
        lambda text: text * (torch.arange(text.shape[1]) < unpadded["length"])[:, None],
    )
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "differs from the same image alone" in verdict.reason


def test_an_image_that_leaks_into_its_neighbours_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    after_unet(tiny, monkeypatch, lambda noise: noise + 1e-5 * noise.mean(dim=0))
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "differs from the same image beside other prompts and seeds" in verdict.reason


def test_several_images_of_one_prompt_are_looked_at_by_themselves(
    tiny: Sampler, monkeypatch: Patch
) -> None:
    encode = tiny.pipeline.encode_prompt

    def only_the_first(prompt: Any, device: Any, number: int, *rest: Any, **settings: Any) -> Any:
        text, unconditional = encode(prompt, device, number, *rest, **settings)
        if number > 1:
            text = torch.cat([text[:1], unconditional[1:]])
        return text, unconditional

    monkeypatch.setattr(tiny.pipeline, "encode_prompt", only_the_first)
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert verdict.reason.startswith("image 2 of 2 by num_images_per_prompt differs")


def test_a_batch_that_loses_an_image_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    after_decoder(tiny, monkeypatch, lambda images: images[:2])
    verdict = sameness.batch(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "2 image(s) of 64 by 64 pixels against 3 image(s)" in verdict.reason


def test_a_variant_that_is_observed_singly_has_no_batch(tiny: Sampler) -> None:
    alone = opened(tiny.model, replace(BASELINE, observed_batch=1))
    verdict = sameness.batch(alone, steps=FEW)
    assert verdict.status == INCONCLUSIVE
    assert "draws one image a call" in verdict.reason
    for gate in ("repeat", "history", "seed"):
        assert GATES[gate](alone, steps=FEW).status == PASSED


def test_no_batch_is_larger_than_the_variant_is_observed_in(
    tiny: Sampler, monkeypatch: Patch
) -> None:
    pairs = opened(tiny.model, replace(BASELINE, observed_batch=2))
    seen = []
    after_decoder(pairs, monkeypatch, lambda images: seen.append(len(images)) or images)
    for gate in GATES.values():
        assert gate(pairs, steps=FEW).status == PASSED
    assert max(seen) == 2


# History.


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(()).item(),
        lambda: float(np.random.rand()),
        lambda: random.random(),
    ],
    ids=["torch", "numpy", "python"],
)
def test_an_image_that_hangs_on_a_global_random_state_is_seen(
    tiny: Sampler, monkeypatch: Patch, draw: Callable[[], float]
) -> None:
    after_encoding(tiny, monkeypatch, lambda text: text * (1 + 0.01 * draw()))
    verdict = sameness.history(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "before the global random states were seeded otherwise" in verdict.reason


@pytest.mark.parametrize(
    ("owner", "seed"),
    [("torch", torch.manual_seed), ("numpy", np.random.seed), ("Python", random.seed)],
)
def test_a_generation_that_seeds_a_global_random_state_is_seen(
    tiny: Sampler, monkeypatch: Patch, owner: str, seed: Callable[[int], object]
) -> None:
    def seeding(text: torch.Tensor) -> torch.Tensor:
        seed(0)
        return text

    after_encoding(tiny, monkeypatch, seeding)
    verdict = sameness.history(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert f"a generation seeds {owner}'s global random state" in verdict.reason


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), np.random.rand, random.random])
def test_a_generation_may_draw_from_the_global_random_states(
    tiny: Sampler, monkeypatch: Patch, draw: Callable[[], object]
) -> None:
    def drawing(text: torch.Tensor) -> torch.Tensor:
        draw()
        return text

    after_encoding(tiny, monkeypatch, drawing)
    verdict = sameness.history(tiny, steps=FEW)
    assert verdict.status == PASSED, verdict.reason


def test_what_an_earlier_prompt_leaves_behind_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    kept: list[torch.Tensor] = []

    def blended(text: torch.Tensor) -> torch.Tensor:
        before = kept[-1][:1] if kept else text
        kept.append(text.clone())
        return text + 0.1 * (before - text)

    after_encoding(tiny, monkeypatch, blended)
    verdict = sameness.history(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "before 2 image(s) of other prompts in 2 steps" in verdict.reason
    assert "random states" not in verdict.reason


def test_a_number_of_steps_that_stays_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    scheduler, fewest = tiny.pipeline.scheduler, [99]
    set_timesteps = scheduler.set_timesteps

    def latched(steps: int, **settings: Any) -> None:
        fewest.append(min(steps, fewest[-1]))
        set_timesteps(fewest[-1], **settings)

    monkeypatch.setattr(scheduler, "set_timesteps", latched)
    verdict = sameness.history(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "before 2 image(s) of other prompts in 2 steps" in verdict.reason


# Seed.


def test_an_ignored_seed_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    monkeypatch.setattr(
        tiny.pipeline, "prepare_latents", lambda *arguments: torch.ones_like(arguments[-1])
    )
    verdict = sameness.seed(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "the image of seed 2024 is 0 in the mean from that of 2023" in verdict.reason


def test_an_ignored_prompt_is_seen(tiny: Sampler, monkeypatch: Patch) -> None:
    after_encoding(tiny, monkeypatch, torch.zeros_like)
    verdict = sameness.seed(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert verdict.reason.startswith("the image of 'a golden vase with different flowers' is 0")


def test_a_collapsed_model_is_seen_though_its_images_are_not_quite_the_same(
    tiny: Sampler, monkeypatch: Patch
) -> None:
    after_decoder(tiny, monkeypatch, lambda images: 0.3 + 1e-4 * images)
    verdict = sameness.seed(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "where more than 0.0005 is expected" in verdict.reason


def test_of_random_weights_only_the_very_same_image_is_a_fault(
    tiny: Sampler, monkeypatch: Patch
) -> None:
    after_decoder(tiny, monkeypatch, lambda images: 0.3 + 1e-4 * images)
    monkeypatch.setattr(tiny, "model", replace(tiny.model, synthetic=Synthetic(seed=1)))
    assert least_apart(tiny) == 0
    assert sameness.seed(tiny, steps=FEW).status == PASSED
    after_decoder(tiny, monkeypatch, torch.ones_like)
    verdict = sameness.seed(tiny, steps=FEW)
    assert verdict.status == FAILED
    assert "where it must not be the same" in verdict.reason


# The difference and its bound.


def test_the_image_that_breaks_the_bound_is_named_before_one_that_does_not(tiny: Sampler) -> None:
    bound = rounding(tiny)
    images = np.zeros((3, 64, 64, 3), np.float32)
    others = images.copy()
    others[0, 0, 0] = 0.1  # one pixel of 4096
    others[2] = 0.001
    found = furthest(images, others, bound)
    assert (found.image, found.largest) == (3, pytest.approx(0.001))
    assert not bound.holds(found)
    assert bound.holds(furthest(images[:1], others[:1], bound))
    assert not EXACT.holds(furthest(images[:1], others[:1], EXACT))


def test_a_damaged_corner_is_beyond_every_bound(tiny: Sampler) -> None:
    images = np.zeros((1, 64, 64, 3), np.float32)
    others = images.copy()
    others[0, :8, :8] = 0.3
    verdicts = [same(images, others, rounding(each), what="{image}/that") for each in _dtypes(tiny)]
    assert not any(finding.kept for finding in verdicts)


def test_the_bound_follows_the_coarsest_arithmetic(tiny: Sampler, monkeypatch: Patch) -> None:
    fp32, fp16, bf16 = (rounding(each) for each in _dtypes(tiny))
    assert fp32.pixel < fp16.pixel < bf16.pixel
    assert same_code(tiny) is EXACT
    cuda = replace(CPU, kind="cuda")
    assert rounding(opened(tiny.model, next(v for v in BUILTIN if v.name == "autocast"))) == bf16
    monkeypatch.setattr(tiny, "device", cuda)
    assert same_code(tiny) == fp32
    monkeypatch.setattr(tiny, "variant", replace(BASELINE, tf32=True))
    assert (rounding(tiny).pixel, "tf32" in rounding(tiny).allows) == (fp16.pixel, True)


def _dtypes(tiny: Sampler) -> Iterator[Sampler]:
    yield tiny
    for dtype in (torch.float16, torch.bfloat16):
        half = opened(tiny.model)
        half.pipeline.unet.to(dtype)
        yield half
