"""Floating-point operations by the modules' configs alone: nothing is computed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import diffusers
import torch

from latentcy.core.costs import Flops
from latentcy.measure.flop_formulas import counter
from latentcy.pipelines.families import StageShapes, family_of
from latentcy.pipelines.workload import Workload


def architecture_flops(pipeline: Any, workload: Workload) -> Flops:
    """Count a generation's operations on the meta device, for this batch and size.

    Blind to what a variant leaves out or adds. None for a stage whose module cannot be built
    from its config.
    """
    images = len(workload.seeds)
    family = family_of(pipeline)
    guided = family.guided_rows(pipeline, workload.guidance_scale)
    _, height, width = family.noise_shape(pipeline, workload.height, workload.width)
    shapes = StageShapes(images, guided, height, width)

    def counted(stage: str) -> Any:
        def prepare() -> Callable[[], Any]:
            calls = family.stage_calls(pipeline, shapes)[stage]
            modules = [_on_meta(one.module) for one in calls]
            return lambda: [one.call(it) for one, it in zip(calls, modules, strict=True)]

        return _count_on_meta(prepare)

    return Flops(
        text_encoding=counted("text_encoding"),
        step=counted("step"),
        decoding=counted("decoding"),
        unet_calls=unet_calls(pipeline.scheduler, workload.steps),
    )


def unet_calls(scheduler: Any, steps: int) -> int | None:
    """Calls of the UNet in `steps` steps: PNDM makes one more. The scheduler is not touched."""
    try:
        own = copy.deepcopy(scheduler)
        own.set_timesteps(steps)
    except Exception:  # some schedulers refuse so few steps
        return None
    return len(own.timesteps)


def _on_meta(module: Any) -> torch.nn.Module:
    """A module of the same class and config without data; diffusers' and transformers' alike."""
    module = getattr(module, "_orig_mod", module)
    kind = type(module)
    verbosity = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity_error()  # AutoencoderTiny warns of its own config
    try:
        with torch.device("meta"):
            made = kind.from_config(module.config) if hasattr(kind, "from_config") else None
            return (made or kind(module.config)).eval()
    finally:
        diffusers.utils.logging.set_verbosity(verbosity)


def _count_on_meta(prepare: Callable[[], Callable[[], Any]]) -> int | None:
    try:
        run = prepare()
        counting = counter()
        with torch.inference_mode(), counting:
            run()
    except Exception:  # an architecture that is not built from its config; the figure is extra
        return None
    return counting.get_total_flops() or None
