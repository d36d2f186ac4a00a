"""The optimisations that users stack today, one by one and together; run where asked for.

All are held against the same workload as the precision group's: one image, 50 DDIM steps, unless
a variant brings its own steps. `fp16` is what most build on, as is usual; on a CPU, which has no
half-precision arithmetic to speak of, they build on fp32.
"""

from __future__ import annotations

from typing import Any

from latentcy.core.quality_limits import NOTHING, SAME_SUBJECT, TF32_OR_FP16, Quality, Tolerance
from latentcy.pipelines.optimizations import recipes
from latentcy.pipelines.optimizations.compilation import FASTEST_OPTIONS
from latentcy.pipelines.optimizations.recipes import Recipe, stacked
from latentcy.pipelines.variants.published import FAST_ARITHMETIC
from latentcy.pipelines.variants.requirements import Needs
from latentcy.pipelines.variants.variant import Variant

_CUDA = Needs(kinds=("cuda",))
_NVIDIA_TENSOR_CORES = Needs(kinds=("cuda",), capability=(8, 0))
_COMPILER = Needs(kinds=("cpu", "cuda"), compiler=True)
_CUDA_COMPILER = Needs(kinds=("cuda",), capability=(7, 0), compiler=True)

_FEWER_STEPS = Quality(
    ssim=Tolerance(
        0.90, "20 steps keep 0.998 on the miniature; not yet measured on Stable Diffusion"
    ),
    clip_drop=Tolerance(0.03, "20 steps cost 0.1 % on the miniature, 10 steps 2 %"),
)
_CACHED = Quality(
    ssim=Tolerance(
        0.90,
        "0.999 at every third step on the miniature; not yet measured on Stable Diffusion",
    ),
    clip_drop=Tolerance(0.03, "at every third step no drop on the miniature, at every fifth 0.2 %"),
)
_TILED = Quality(
    ssim=Tolerance(
        0.70, "0.87 on the miniature, whose tiles are 4 latents wide; seams and tints are seen"
    ),
    clip_drop=Tolerance(0.10, "5.8 % on the miniature, whose tiles are 4 latents wide"),
)
_QUANTISED = Quality(
    ssim=Tolerance(
        0.95,
        "float8 keeps 0.999 on the miniature, int8 more; not yet measured on Stable Diffusion",
    ),
    clip_drop=SAME_SUBJECT,
)


def _on_fp16(name: str, changes: str, prepare: Recipe | None, **settings: Any) -> Variant:
    """A variant that adds one thing to fp16 (fp32 on a CPU), with the same images."""
    given: dict[str, Any] = {
        "group": "stack",
        "dtype": "float16",
        "cpu_dtype": "float32",
        "reference": "fp16",
        "quality": TF32_OR_FP16,
        "no_slower_on": FAST_ARITHMETIC,
        "memory_gated": False,  # most of them buy speed with memory
    }
    return Variant(name=name, changes=changes, prepare=prepare, **(given | settings))


# The best that we know for a fixed shape on CUDA, of which only rounding shows in the images.
_FASTEST_MEMORY = (recipes.channels_last, recipes.fused_qkv, recipes.cudnn_benchmark)
_FASTEST_PROGRAM = (
    recipes.compiled("denoiser", "decoder", options=FASTEST_OPTIONS),
    recipes.attention("cudnn", "flash", "efficient", "math"),
    recipes.graphed("denoiser", "decoder", "text_encoder"),
    recipes.hoisted,
)
_FASTEST_NEEDS = Needs(kinds=("cuda",), capability=(8, 0), packages=("torch>=2.6",), compiler=True)

STACK: tuple[Variant, ...] = (
    Variant(
        name="baseline",
        group="stack",
        changes="Nothing: all weights and arithmetic in fp32, tf32 off.",
        ssim_reference=None,
        quality=NOTHING,
    ),
    _on_fp16("fp16", "All weights in float16 (fp32 on a CPU).", None, reference="baseline"),
    # Attention.
    _on_fp16(
        "attention-eager",
        "The UNet's attention as two matrix products and a softmax.",
        recipes.eager_attention,
        no_slower_on=(),
    ),
    _on_fp16(
        "attention-math",
        "The UNet's attention by torch's own products and softmax.",
        recipes.attention("math"),
        no_slower_on=(),
    ),
    _on_fp16(
        "attention-efficient",
        "The UNet's attention by torch's memory-efficient kernel.",
        recipes.attention("efficient"),
        needs=_CUDA,
        no_slower_on=(),
    ),
    _on_fp16(
        "attention-flash",
        "The UNet's attention by torch's FlashAttention kernel.",
        recipes.attention("flash"),
        needs=_NVIDIA_TENSOR_CORES,
        no_slower_on=(),
    ),
    _on_fp16(
        "attention-cudnn",
        "The UNet's attention by cuDNN where it can, else by FlashAttention.",
        recipes.attention("cudnn", "flash"),
        needs=Needs(kinds=("cuda",), capability=(8, 0), packages=("torch>=2.6",)),
        no_slower_on=(),
    ),
    _on_fp16(
        "attention-xformers",
        "The UNet's attention by xformers.",
        recipes.xformers_attention,
        needs=Needs(kinds=("cuda",), packages=("xformers",)),
        no_slower_on=(),
    ),
    # Memory layout, and work saved.
    _on_fp16(
        "channels-last",
        "UNet and autoencoder with the channels innermost in memory.",
        recipes.channels_last,
        no_slower_on=(),
    ),
    _on_fp16("fused-qkv", "One projection for query, key and value.", recipes.fused_qkv),
    _on_fp16(
        "cudnn-benchmark",
        "cuDNN keeps the convolutions that it timed as fastest.",
        recipes.cudnn_benchmark,
        needs=_CUDA,
    ),
    _on_fp16(
        "host-scheduler",
        "DDIM's numbers kept on the host, so that no step waits for the device.",
        recipes.host_scheduled,
    ),
    _on_fp16(
        "hoisted",
        "The text's keys and values made once for a generation, the timesteps' offsets once.",
        recipes.hoisted,
    ),
    # Compilation.
    _on_fp16(
        "compile",
        "UNet and decoder compiled whole by torch.compile.",
        recipes.compiled("denoiser", "decoder"),
        needs=_COMPILER,
        observed_batch=1,
    ),
    _on_fp16(
        "compile-regional",
        "The UNet's transformer and residual blocks compiled one by one.",
        recipes.compiled_regions(),
        needs=_COMPILER,
        observed_batch=1,
    ),
    _on_fp16(
        "compile-reduce-overhead",
        "UNet and decoder compiled whole, with torch's own CUDA graphs.",
        recipes.compiled("denoiser", "decoder", mode="reduce-overhead"),
        needs=_CUDA_COMPILER,
        observed_batch=1,
    ),
    _on_fp16(
        "compile-channels-last",
        "UNet and decoder in channels_last, compiled with kernels tuned by trying.",
        stacked(
            recipes.channels_last,
            recipes.compiled("denoiser", "decoder", options=FASTEST_OPTIONS),
        ),
        needs=_CUDA_COMPILER,
        observed_batch=1,
    ),
    _on_fp16(
        "cuda-graphs",
        "Text encoder, UNet and decoder as CUDA graphs, not compiled.",
        stacked(
            recipes.graphed("denoiser", "decoder", "text_encoder"),
            recipes.host_scheduled,
        ),
        needs=_CUDA,
        observed_batch=1,
    ),
    # Fewer steps, and fewer of them whole.
    _on_fp16(
        "dpm-20",
        "20 steps of DPM-Solver++ (2M).",
        None,
        steps=20,
        scheduler="dpm",
        quality=_FEWER_STEPS,
        no_slower_on=("cpu", "cuda", "mps"),
    ),
    _on_fp16(
        "dpm-karras-20",
        "20 steps of DPM-Solver++ (2M) with the step sizes of Karras et al.",
        None,
        steps=20,
        scheduler="dpm-karras",
        quality=_FEWER_STEPS,
        no_slower_on=("cpu", "cuda", "mps"),
    ),
    _on_fp16(
        "unipc-20",
        "20 steps of UniPC.",
        None,
        steps=20,
        scheduler="unipc",
        quality=_FEWER_STEPS,
        no_slower_on=("cpu", "cuda", "mps"),
    ),
    _on_fp16(
        "deepcache-2",
        "The UNet's deep features made at every second step (DeepCache).",
        recipes.deep_cached(2),
        quality=_CACHED,
        no_slower_on=("cpu", "cuda", "mps"),
    ),
    _on_fp16(
        "deepcache-3",
        "The UNet's deep features made at every third step (DeepCache).",
        recipes.deep_cached(3),
        quality=_CACHED,
        no_slower_on=("cpu", "cuda", "mps"),
    ),
    # Smaller weights.
    _on_fp16(
        "int8-weights",
        "The UNet's linear layers with int8 weights (torchao), compiled.",
        stacked(recipes.quantised("int8"), recipes.compiled("denoiser")),
        needs=Needs(kinds=("cuda",), capability=(8, 0), packages=("torchao>=0.9",), compiler=True),
        quality=_QUANTISED,
        no_slower_on=(),
        observed_batch=1,
    ),
    _on_fp16(
        "fp8-weights",
        "The UNet's linear layers with float8 weights (torchao), compiled.",
        stacked(recipes.quantised("fp8"), recipes.compiled("denoiser")),
        needs=Needs(kinds=("cuda",), capability=(8, 9), packages=("torchao>=0.9",), compiler=True),
        quality=_QUANTISED,
        no_slower_on=(),
        observed_batch=1,
    ),
    # Less memory.
    _on_fp16("vae-slicing", "Images decoded one by one.", recipes.vae_slicing, no_slower_on=()),
    _on_fp16(
        "vae-tiling",
        "Images decoded in overlapping tiles of half their side.",
        recipes.vae_tiling,
        quality=_TILED,
        no_slower_on=(),
    ),
    _on_fp16(
        "model-offload",
        "Each part on the GPU only while it runs.",
        recipes.model_offload,
        needs=Needs(kinds=("cuda",), packages=("accelerate",)),
        no_slower_on=(),
    ),
    # All of it.
    _on_fp16(
        "fastest",
        "channels_last, fused projections, hoisted work, tuned compilation, CUDA graphs.",
        stacked(*_FASTEST_MEMORY, *_FASTEST_PROGRAM, recipes.host_scheduled),
        needs=_FASTEST_NEEDS,
        reference="baseline",
        observed_batch=1,
    ),
    _on_fp16(
        "fastest-lossy",
        "As fastest, by 20 steps of DPM-Solver++ (2M) with the step sizes of Karras et al.",
        stacked(*_FASTEST_MEMORY, *_FASTEST_PROGRAM),
        needs=_FASTEST_NEEDS,
        reference="baseline",
        steps=20,
        scheduler="dpm-karras",
        quality=_FEWER_STEPS,
        observed_batch=1,
    ),
)
