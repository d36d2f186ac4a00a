"""What is left behind: switches, patches, hooks, and modules in another state.

Most of these do not harm the cases after them: a switch that a CPU does not look at, a patch that
hands everything on. Those that would are marked `apart`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from latentcy.faults.changes import through
from latentcy.faults.fault import Fault, Prepare


def in_each_call(act: Callable[[Any], object]) -> Prepare:
    """Does something to the world whenever a prompt is encoded."""

    def prepare(pipeline: Any) -> None:
        def encode(original: Any, *arguments: Any, **settings: Any) -> Any:
            act(pipeline)
            return original(*arguments, **settings)

        through(pipeline, "encode_prompt", encode)

    return prepare


def once_in_a_call(act: Callable[[Any], object]) -> Prepare:
    """Does it in the first call alone."""
    done: set[int] = set()

    def first(pipeline: Any) -> None:
        if id(pipeline) not in done:
            done.add(id(pipeline))
            act(pipeline)

    return in_each_call(first)


def tf32_on(pipeline: Any) -> None:
    """The switch for tf32, left on as determinism helpers and launchers do."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def deterministic_on(pipeline: Any) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)


def benchmark_on(pipeline: Any) -> None:
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark


def launch_blocking(pipeline: Any) -> None:
    """What diffusers' helper for determinism leaves behind."""
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"


def double_by_default(pipeline: Any) -> None:
    torch.set_default_dtype(torch.float64)


def another_thread(pipeline: Any) -> None:
    torch.set_num_threads(torch.get_num_threads() + 1)


def patch_attention(pipeline: Any) -> None:
    """Torch's own attention function replaced for every model of the process."""
    original = functional.scaled_dot_product_attention

    def patched(*arguments: Any, **settings: Any) -> torch.Tensor:
        return original(*arguments, **settings)

    functional.scaled_dot_product_attention = patched


def patch_scheduler(pipeline: Any) -> None:
    """A method of the scheduler's class replaced, for every pipeline that has one."""
    kind = type(pipeline.scheduler)
    original = kind.scale_model_input

    @functools.wraps(original)
    def patched(self: Any, *arguments: Any, **settings: Any) -> torch.Tensor:
        return original(self, *arguments, **settings)

    kind.scale_model_input = patched


def global_hook(pipeline: Any) -> None:
    """A hook on the modules of all models in the process."""
    torch.nn.modules.module.register_module_forward_hook(lambda module, given, made: None)


def own_hook(pipeline: Any) -> None:
    """A hook that a profiler or an offloader did not take away again."""
    pipeline.unet.register_forward_hook(lambda module, given, made: None)


def slicing_on(pipeline: Any) -> None:
    """A switch of the pipeline that a fallback has set and not set back."""
    pipeline.vae.enable_slicing()


def slow_attention(pipeline: Any) -> None:
    """The attention processors replaced by slower ones in the first call."""
    from latentcy.pipelines.optimizations.recipes import eager_attention

    eager_attention(pipeline)


def into_training(pipeline: Any) -> None:
    pipeline.unet.train()


def with_gradients(pipeline: Any) -> None:
    """The UNet records a graph for a backward pass that never comes."""

    def forward(original: Any, *arguments: Any, **settings: Any) -> Any:
        with torch.enable_grad():
            made = original(*arguments, **settings)
        return (made[0].detach(),)

    through(pipeline.unet, "forward", forward)


AFTER = ("leaks", "switches")
FAULTS = (
    # The first of the two, since the second would hide it: tf32 stays on.
    Fault(
        "tf32-set-while-loading",
        "Loading the model leaves tf32 on for everybody.",
        "pytorch/pytorch#76509",
        tf32_on,
        AFTER,
        "tf32|fp32_precision",
        apart=True,
    ),
    Fault(
        "tf32-left-on",
        "A call leaves tf32 on for everybody.",
        "pytorch/pytorch#76509",
        in_each_call(tf32_on),
        AFTER,
        "tf32|fp32_precision",
        apart=True,
    ),
    Fault(
        "deterministic-left-on",
        "A call leaves deterministic algorithms on for everybody.",
        "huggingface/diffusers, enable_full_determinism",
        in_each_call(deterministic_on),
        AFTER,
        "determinis",
        apart=True,
    ),
    Fault(
        "cudnn-benchmark-left-on",
        "A call turns cuDNN's search for kernels over.",
        "huggingface/diffusers, enable_full_determinism",
        once_in_a_call(benchmark_on),
        AFTER,
        "benchmark",
        apart=True,
    ),
    Fault(
        "launch-blocking",
        "A call leaves CUDA_LAUNCH_BLOCKING in the environment.",
        "huggingface/diffusers, enable_full_determinism",
        in_each_call(launch_blocking),
        AFTER,
        "CUDA_LAUNCH_BLOCKING|CUBLAS|environ",
        apart=True,
    ),
    Fault(
        "default-dtype",
        "A call makes float64 everybody's default.",
        "cics-nd/gptorch#22",
        once_in_a_call(double_by_default),
        AFTER,
        "default dtype|float64",
        apart=True,
    ),
    Fault(
        "threads-changed",
        "A call changes torch's number of threads.",
        "a library that sets the threads when it is first used",
        once_in_a_call(another_thread),
        AFTER,
        "thread",
        apart=True,
    ),
    Fault(
        "attention-patched",
        "Torch's attention function is replaced for all models.",
        "AUTOMATIC1111/stable-diffusion-webui#13606",
        patch_attention,
        AFTER,
        "scaled_dot_product_attention",
        apart=True,
    ),
    Fault(
        "scheduler-patched",
        "A method of the scheduler's class is replaced for all pipelines.",
        "a plug-in that replaces a method for all pipelines",
        patch_scheduler,
        AFTER,
        "scale_model_input|DDIMScheduler|chedul",
        apart=True,
    ),
    Fault(
        "global-hook",
        "A hook is left on the modules of all models.",
        "a profiler's hook that was never taken away",
        once_in_a_call(global_hook),
        AFTER,
        "hook",
        apart=True,
    ),
    Fault(
        "hook-left",
        "The first call leaves a hook on the UNet.",
        "EleutherAI/bergson#55",
        once_in_a_call(own_hook),
        ("switches", "growth"),
        "hook",
    ),
    Fault(
        "slicing-left-on",
        "The first call leaves VAE slicing on.",
        "huggingface/diffusers#11540",
        once_in_a_call(slicing_on),
        ("switches",),
        "slic",
    ),
    Fault(
        "processors-replaced",
        "The first call replaces the attention processors.",
        "huggingface/diffusers#13060",
        once_in_a_call(slow_attention),
        ("switches",),
        "processor|attention",
    ),
    Fault(
        "training-mode-left",
        "The first call leaves the UNet in training mode.",
        "ipolharvard/ethos-ares#20",
        once_in_a_call(into_training),
        ("switches",),
        "train",
    ),
    Fault(
        "gradients-recorded",
        "The UNet records a graph that nobody asked for.",
        "damian0815/compel#24",
        with_gradients,
        ("switches",),
        "grad",
    ),
)
