"""Where and in what portions the work is done must not show in the image."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import nn

from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import Verdict
from latentcy.gates.invariants.image_bounds import Finding, concluded, rounding, same, same_code
from latentcy.measure.short_generations import SEEDS, STEPS, batch_limit, brief, draw, prompts
from latentcy.pipelines.devices.compiled import is_compiled
from latentcy.pipelines.devices.device import is_out_of_memory
from latentcy.pipelines.families import decoder_of, denoiser_of
from latentcy.pipelines.sampler import Sampler

Opener = Callable[[], Sampler]
"""Loads a further sampler of the same case."""

Images = Callable[[Sampler], np.ndarray]
"""Draws the images that are compared, float32 [n, height, width, 3]."""


def placement(
    sampler: Sampler,
    another: Opener | None = None,
    *,
    seeds: Sequence[int] = SEEDS,
    steps: int | None = STEPS,
) -> Verdict:
    """The image does not depend on sliced attention, sliced decoding, or offloading.

    Each is switched on, an image is drawn and the former state put back; then one is drawn again.
    What a variant has already, or cannot have, is left out with the reason. Offloading works in a
    further sampler, since its hooks stay; on a CPU the hooks run and move nothing.

    Args:
        sampler: the case as it is.
        another: loads the case once more; it is closed here. None leaves offloading out.
        seeds: the first two are drawn.
        steps: at most so many; None takes the workload's.
    """
    findings: list[Finding] = []
    left_out: list[str] = []

    def note(found: Finding | str) -> None:
        findings.append(found) if isinstance(found, Finding) else left_out.append(found)

    def images(of: Sampler) -> np.ndarray:
        count = min(2, batch_limit(of))
        return draw(of, prompts(of)[:count], seeds[:count])

    with brief(sampler, steps) as short:
        plain = images(short)
        note(_with_sliced_attention(short, plain, images))
        note(_with_sliced_decoding(short, plain, images))
        if findings:
            what = "{image} after slicing was switched off/the same before it"
            findings.append(same(images(short), plain, same_code(short), what=what))
        note(_offloaded(sampler, another, plain, lambda of: _in_brief(of, steps, images)))
    return concluded("placement", findings, left_out)


def _in_brief(sampler: Sampler, steps: int | None, images: Images) -> np.ndarray:
    with brief(sampler, steps) as short:
        return images(short)


def _with_sliced_attention(sampler: Sampler, plain: np.ndarray, images: Images) -> Finding | str:
    pipeline = sampler.pipeline
    if why_not := _why_unsliced_attention(denoiser_of(pipeline)):
        return f"sliced attention ({why_not})"
    heads = [module.sliceable_head_dim for module in _attentions(denoiser_of(pipeline))]
    with _processors_kept(pipeline):
        before = _processors(pipeline)
        try:
            pipeline.enable_attention_slicing("auto" if min(heads) > 1 else "max")
        except Exception as error:
            return f"sliced attention (it cannot be enabled: {_said(error)})"
        if _processors(pipeline) == before:
            return "sliced attention (enabling it changed nothing)"
        sliced = images(sampler)
    what = "{image} with sliced attention/the same without"
    return same(sliced, plain, rounding(sampler), what=what)


def _with_sliced_decoding(sampler: Sampler, plain: np.ndarray, images: Images) -> Finding | str:
    decoder = decoder_of(sampler.pipeline)
    if why_not := _why_unsliced_decoding(decoder, len(plain)):
        return f"sliced decoding ({why_not})"
    try:
        try:
            decoder.enable_slicing()
        except Exception as error:
            return f"sliced decoding (it cannot be enabled: {_said(error)})"
        if not decoder.use_slicing:
            return "sliced decoding (enabling it changed nothing)"
        sliced = images(sampler)
    finally:
        decoder.use_slicing = False
    what = "{image} with sliced decoding/the same without"
    return same(sliced, plain, rounding(sampler), what=what)


def _offloaded(
    sampler: Sampler, another: Opener | None, plain: np.ndarray, images: Images
) -> Finding | str:
    if why_not := _why_not_offloaded(sampler.pipeline, another):
        return f"offloading ({why_not})"
    assert another is not None
    further = another()
    try:
        try:
            further.pipeline.enable_model_cpu_offload(device=further.device.torch)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return f"offloading (it cannot be enabled: {_said(error)})"
        offloaded = images(further)
    finally:
        further.close()
    what = "{image} under model CPU offload/the same without"
    return same(offloaded, plain, same_code(sampler), what=what)


def _why_unsliced_attention(denoiser: Any) -> str | None:
    if _is_replaced(denoiser):
        return "the UNet is compiled, captured or wrapped"
    attentions = list(_attentions(denoiser))
    if not attentions or not hasattr(denoiser, "set_attention_slice"):
        return "this UNet has none to slice"
    if any(getattr(module, "fused_projections", False) for module in attentions):
        return "its projections are fused"
    if any(type(module.processor).__name__.startswith("Sliced") for module in attentions):
        return "it is sliced already"
    return None


def _why_unsliced_decoding(decoder: Any, images: int) -> str | None:
    if images < 2:
        return "the variant draws one image a call"
    if not (hasattr(decoder, "enable_slicing") and hasattr(decoder, "use_slicing")):
        return "this autoencoder has none"
    if decoder.use_slicing:
        return "it is sliced already"
    if _is_replaced(decoder) or _is_replaced(getattr(decoder, "decoder", decoder)):
        return "the decoder is compiled, captured or wrapped"
    return None


def _why_not_offloaded(pipeline: Any, another: Opener | None) -> str | None:
    if another is None:
        return "there is no further sampler to do it in"
    if importlib.util.find_spec("accelerate") is None:
        return "it needs accelerate"
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    if any(hasattr(module, "_hf_hook") for part in parts for module in part.modules()):
        return "the variant offloads already"
    if is_compiled(pipeline) or any(_is_replaced(part) for part in parts):
        return "a part is compiled, captured or wrapped"
    return None


def _is_replaced(module: Any) -> bool:
    """Whether something stands in the place of the module or its forward, or is compiled in it."""
    if not isinstance(module, nn.Module):
        return True
    return "forward" in vars(module) or any(
        hasattr(each, "_orig_mod") or getattr(each, "_compiled_call_impl", None) is not None
        for each in module.modules()
    )


def _attentions(module: nn.Module) -> Iterator[Any]:
    return (each for each in module.modules() if hasattr(each, "sliceable_head_dim"))


def _processors(pipeline: Any) -> list[tuple[Any, Any]]:
    """Every attention layer of the pipeline, with what computes it."""
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    modules = (module for part in parts for module in part.modules())
    return [(module, module.processor) for module in modules if hasattr(module, "set_processor")]


@contextlib.contextmanager
def _processors_kept(pipeline: Any) -> Iterator[None]:
    before = _processors(pipeline)
    try:
        yield
    finally:
        for module, processor in before:
            module.set_processor(processor)


def _said(error: Exception) -> str:
    if isinstance(error, LatentcyError):
        return error.found
    return str(error).partition("\n")[0] or type(error).__name__
