"""The recipes: what each does to a pipeline, and that it leaves the images as it promises."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from latentcy.core.errors import LatentcyError
from latentcy.measure.images.clip import ssim
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.loading import load_pipeline
from latentcy.pipelines.models.catalog import MINIATURE, Model, resolve_model
from latentcy.pipelines.optimizations import recipes
from latentcy.pipelines.optimizations.compilation import compile_failure, is_compile_failure
from latentcy.pipelines.optimizations.cuda_graphs import Replayed
from latentcy.pipelines.prompts import prompt_set
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import STACK, Variant
from latentcy.pipelines.workload import workload
from tiny import POSITIONS, WIDTH, build_tiny

CPU = find_device("cpu")
BY_NAME = {each.name: each for each in STACK}
STEPS = 4
PROMPTS, SEEDS = ["a red cat", "a blue dog", "mars"], [1, 2, 3]
# fp32 on a CPU: summed in another order, 3e-6 is what the recipes were seen to differ by.
ROUNDING = 2e-5
ON_A_CPU = [each for each in STACK if each.refusal(CPU) is None and not each.needs.compiler]
# Of these the images differ from the plain pipeline's by rounding alone.
EXACT = [
    each.name
    for each in ON_A_CPU
    if each.steps is None and not each.name.startswith(("deepcache", "vae-tiling"))
]
LOSSY = [each.name for each in ON_A_CPU if each.name not in EXACT]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0]


@pytest.fixture(scope="module")
def plain(model: Model) -> np.ndarray:
    return images(opened(model, None))


def opened(model: Model, prepare: Callable[[Any], None] | None) -> Sampler:
    return opened_variant(model, Variant("mine", "c", group="stack", prepare=prepare))


def opened_variant(model: Model, variant: Variant) -> Sampler:
    work = workload(
        "single",
        height=64,
        width=64,
        guidance_scale=3.0,
        steps=variant.steps,
        scheduler=variant.scheduler,
    )
    short = work if variant.steps else replace(work, steps=STEPS)
    return open_sampler(model, variant, CPU, short)


def images(sampler: Sampler) -> np.ndarray:
    """Of three prompts in two batches, then of the first alone, as a run asks for them."""
    observed = sampler.observe(PROMPTS, SEEDS, batch=2).images
    alone = sampler.generate(PROMPTS[:1], SEEDS[:1]).images
    return np.concatenate([observed, alone])


def counted(module: torch.nn.Module) -> list[int]:
    """Grows by one with each call of the module."""
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_recipe_changes_the_images_by_rounding_alone(
    model: Model, plain: np.ndarray, name: str
) -> None:
    made = images(opened_variant(model, BY_NAME[name]))
    assert np.abs(made - plain).max() <= ROUNDING


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_recipe_leaves_finite_images_that_are_others(
    model: Model, plain: np.ndarray, name: str
) -> None:
    made = images(opened_variant(model, BY_NAME[name]))
    assert np.isfinite(made).all()
    assert np.abs(made - plain).max() > ROUNDING


@pytest.mark.parametrize("name", ["dpm-20", "dpm-karras-20", "unipc-20"])
def test_fewer_steps_call_the_unet_as_often_as_stated(model: Model, name: str) -> None:
    sampler = opened_variant(model, BY_NAME[name])
    calls = counted(sampler.pipeline.unet)
    sampler.generate()
    assert len(calls) == BY_NAME[name].steps == 20


def test_deepcache_at_every_step_is_the_plain_pipeline(model: Model, plain: np.ndarray) -> None:
    assert np.array_equal(images(opened(model, recipes.deep_cached(1))), plain)


def test_deepcache_runs_the_deep_blocks_at_every_nth_step_of_each_generation(model: Model) -> None:
    sampler = opened(model, recipes.deep_cached(3))
    deep, last = counted(sampler.pipeline.unet.mid_block), counted(sampler.pipeline.unet.conv_out)
    sampler.generate()
    assert (len(deep), len(last)) == (2, STEPS)  # steps 1 and 4 of 4
    sampler.generate()
    assert (len(deep), len(last)) == (4, 2 * STEPS)


def test_deepcache_refuses_to_drop_what_wraps_the_unet(model: Model) -> None:
    both = recipes.stacked(recipes.attention("math"), recipes.deep_cached(2))
    with pytest.raises(LatentcyError, match="before what wraps"):
        opened(model, both)


def test_hoisting_projects_the_text_once_for_a_generation(model: Model) -> None:
    sampler = opened(model, recipes.hoisted)
    block = sampler.pipeline.unet.down_blocks[0].attentions[0].transformer_blocks[0]
    projections = counted(block.attn2.to_k)
    sampler.generate()
    assert len(projections) == 1
    sampler.generate()
    assert len(projections) == 2


def test_hoisting_follows_the_text_and_the_timestep(model: Model) -> None:
    hoisted, bare = opened(model, recipes.hoisted).pipeline, opened(model, None).pipeline
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    texts = 30 * torch.randn(2, 2, POSITIONS, WIDTH, generator=generator)
    noise = {}
    with torch.no_grad():
        for index, at in [(0, 981), (0, 1), (1, 981), (0, 981)]:
            arguments = (sample, torch.tensor(at), texts[index])
            noise[index, at] = bare.unet(*arguments, return_dict=False)[0]
            here = hoisted.unet(*arguments[:2], encoder_hidden_states=arguments[2])[0]
            # Texts thirty times as large as real ones: 2e-6 to 6e-5, by kernels and threads.
            assert torch.allclose(here, noise[index, at], atol=5 * ROUNDING)
    # What hoisting could get wrong is far beyond that.
    assert not torch.allclose(noise[0, 981], noise[1, 981], atol=500 * ROUNDING)
    assert not torch.allclose(noise[0, 981], noise[0, 1], atol=500 * ROUNDING)


def test_nothing_in_the_loop_waits_for_the_device(model: Model) -> None:
    """On the meta device reading a value back raises, as diffusers' own DDIM shows."""
    hoist = recipes.stacked(recipes.channels_last, recipes.fused_qkv, recipes.hoisted)
    for recipe in (hoist, recipes.stacked(hoist, recipes.host_scheduled)):
        pipeline = load_pipeline(model, Variant("mine", "c", group="stack"), CPU)
        pipeline.to("meta")
        recipe(pipeline)
        if recipe is hoist:
            with pytest.raises(RuntimeError, match="item"):
                denoise_on_meta(pipeline)
        else:
            assert denoise_on_meta(pipeline).shape == (1, 4, 8, 8)


def denoise_on_meta(pipeline: Any) -> torch.Tensor:
    text = torch.zeros(1, POSITIONS, WIDTH, device="meta")
    return pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=text.clone(),
        latents=torch.zeros(1, 4, 8, 8, device="meta"),
        num_inference_steps=STEPS,
        guidance_scale=3.0,
        output_type="latent",
    ).images


def test_the_host_scheduler_refuses_what_is_no_plain_ddim(model: Model) -> None:
    with pytest.raises(LatentcyError, match="PNDMScheduler in the place of DDIM"):
        open_sampler(
            model,
            Variant("mine", "c", group="distillation", prepare=recipes.host_scheduled),
            CPU,
            workload("batch", height=64, width=64, guidance_scale=3.0),
        )


@pytest.mark.parametrize("late", [recipes.compiled("unet"), recipes.graphed("unet")])
def test_what_works_between_calls_cannot_be_compiled_away(
    model: Model, late: recipes.Recipe
) -> None:
    with pytest.raises(LatentcyError, match="before hoisted"):
        opened(model, recipes.stacked(recipes.hoisted, late))


def test_an_attention_back_end_holds_inside_the_unet_alone(model: Model) -> None:
    seen = []
    sampler = opened(model, recipes.attention("math"))
    for module in (sampler.pipeline.unet.conv_out, sampler.pipeline.vae.decoder.conv_out):
        module.register_forward_hook(
            lambda *_: seen.append(torch.backends.cuda.flash_sdp_enabled())
        )
    sampler.generate()
    assert seen == [False] * STEPS + [True]
    assert torch.backends.cuda.flash_sdp_enabled()


def test_tiling_decodes_in_tiles(model: Model) -> None:
    sampler = opened(model, recipes.vae_tiling)
    tiles = counted(sampler.pipeline.vae.decoder)
    sampler.generate()
    assert len(tiles) > 1


def test_slicing_decodes_one_by_one(model: Model) -> None:
    sampler = opened(model, recipes.vae_slicing)
    slices = counted(sampler.pipeline.vae.decoder)
    sampler.observe(PROMPTS, SEEDS, batch=3)
    assert len(slices) == 3


@pytest.fixture(scope="module")
def miniature_baseline() -> np.ndarray:
    return of_the_miniature(BY_NAME["baseline"])


def of_the_miniature(variant: Variant) -> np.ndarray:
    work = workload(
        "single",
        height=MINIATURE.height,
        width=MINIATURE.width,
        guidance_scale=MINIATURE.guidance_scale,
        steps=variant.steps,
        scheduler=variant.scheduler,
    )
    prompts = prompt_set(MINIATURE, None, 4)
    return open_sampler(MINIATURE, variant, CPU, work).observe(prompts, range(4)).images


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_recipe_keeps_its_bound_on_the_miniature(
    miniature_baseline: np.ndarray, name: str
) -> None:
    values = ssim(of_the_miniature(BY_NAME[name]), miniature_baseline)
    assert BY_NAME[name].quality.ssim.value <= values.mean() < 1.0


# What needs a GPU, a compiler or a package, as far as a CPU can show it.


def test_offloaded_parts_run_through_accelerates_hooks(model: Model, plain: np.ndarray) -> None:
    pytest.importorskip("accelerate")
    sampler = opened(model, recipes.model_offload)
    assert all(hasattr(getattr(sampler.pipeline, part), "_hf_hook") for part in ("unet", "vae"))
    assert np.array_equal(images(sampler), plain)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_quantised_weights_move_the_images_and_leave_them_whole(
    model: Model, plain: np.ndarray, kind: str
) -> None:
    pytest.importorskip("torchao")
    made = images(opened(model, recipes.quantised(kind)))
    assert np.isfinite(made).all()
    assert ROUNDING < np.abs(made - plain).max() < 0.1


def test_compiling_asks_for_room_for_all_shapes_in_its_own_calls_alone(model: Model) -> None:
    import torch._dynamo.config as dynamo

    before = dynamo.recompile_limit
    during: list[int] = []
    sampler = opened(model, recipes.compiled_regions(backend="eager"))
    sampler.pipeline.unet.conv_in.register_forward_hook(
        lambda *_: during.append(dynamo.recompile_limit)
    )
    sampler.generate()
    assert (before, set(during), dynamo.recompile_limit) == (8, {64}, 8)


def test_unet_and_decoder_compile_without_a_break(
    model: Model, plain: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.compile's tracing, in one graph each or it raises; its code generation left out."""
    traced_only(monkeypatch)
    sampler = opened_variant(model, _on_cpu("compile-channels-last"))
    made = sampler.generate(PROMPTS[:1], SEEDS[:1]).images
    assert np.abs(made - plain[3:]).max() <= ROUNDING


@pytest.mark.parametrize("name", ["cuda-graphs", "fastest"])
def test_replayed_graphs_follow_prompt_seed_and_batch(
    model: Model, plain: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)  # it refuses the imitation
    imitate_cuda_graphs(monkeypatch)
    sampler = opened_variant(model, _on_cpu(name))
    assert np.abs(images(sampler) - plain).max() <= ROUNDING
    assert np.abs(images(sampler) - plain).max() <= ROUNDING


def test_a_replay_does_not_write_over_what_was_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    imitate_cuda_graphs(monkeypatch)
    double = Replayed(lambda x, scale=2: x * scale)
    first, second = double(torch.ones(2)), double(torch.full((2,), 5.0))
    assert (first.tolist(), second.tolist()) == ([2.0, 2.0], [10.0, 10.0])
    assert double(torch.ones(2), scale=3).tolist() == [3.0, 3.0]
    assert double(torch.ones(3)).tolist() == [2.0, 2.0, 2.0]


def _on_cpu(name: str) -> Variant:
    """The variant's recipe, where its device would not be there."""
    return Variant("mine", "c", group="stack", prepare=BY_NAME[name].prepare)


def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile

    def traced(call: Any, **settings: Any) -> Any:
        return real(call, fullgraph=settings["fullgraph"], dynamic=False, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)


class _Recorder(TorchDispatchMode):
    """Keeps every operation with the very tensors that it read and wrote, as a capture does."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, ...]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), settings: Any = None
    ) -> Any:
        made = operation(*arguments, **(settings or {}))
        self.operations.append((operation, arguments, settings or {}, made))
        return made


class _Graph:
    """torch.cuda.CUDAGraph as a CPU can have it: the operations again, into the same memory."""

    def __init__(self) -> None:
        self.recorder = _Recorder()

    @torch.no_grad()
    def replay(self) -> None:
        for operation, arguments, settings, there in self.recorder.operations:
            again = operation(*arguments, **settings)
            for old, new in zip(pytree.tree_leaves(there), pytree.tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def imitate_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def capture(graph: _Graph) -> Iterator[None]:
        with graph.recorder:
            yield

    @contextmanager
    def stream(_: Any) -> Iterator[None]:
        yield

    here = types.SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", _Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: here)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: here)


# What a failed compilation is told as.


def failing(message: str) -> Exception:
    """What torch.compile raises around a back end that fails."""

    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError(message)

    with pytest.raises(Exception) as caught:
        torch.compile(lambda x: x + 1, backend=backend)(torch.ones(1))
    return caught.value


def test_a_failed_compilation_becomes_one_message() -> None:
    error = failing("no such instruction\nand much more")
    assert is_compile_failure(error)
    told = compile_failure(error, "stack/compile")
    assert "stack/compile" in told.found and "no such instruction" in told.found
    assert "\n" not in told.found and "leave the variant out" in told.do


def test_a_cpp_compiler_that_does_not_work_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Torch's own compiler around /bin/false, with nothing in its cache."""
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "false"))
    with pytest.raises(RuntimeError) as caught:
        torch.compile(lambda x: torch.sin(x) + 3.25)(torch.ones(7))
    assert is_compile_failure(caught.value)
    assert "C++" in compile_failure(caught.value, "stack/compile").found


def test_a_compilers_first_line_is_told() -> None:
    from torch._inductor.exc import CppCompileError

    error = CppCompileError(["g++", "x.cpp"], "x.cpp:1: error: what is this\nmore")
    assert "x.cpp:1: error: what is this" in compile_failure(error, "stack/compile").found


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        failing("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
    ids=["the model's own", "memory", "memory while compiling"],
)
def test_other_errors_are_no_failed_compilation(error: Exception) -> None:
    assert not is_compile_failure(error)
