"""Families: the kinds of pipeline that can be measured, and which one a pipeline is of."""

from __future__ import annotations

from typing import Any

from latentcy.pipelines.families.family import Family, StageCall, StageShapes
from latentcy.pipelines.families.sdxl import SDXL
from latentcy.pipelines.families.stable_diffusion import STABLE_DIFFUSION

FAMILIES: tuple[Family, ...] = (STABLE_DIFFUSION, SDXL)

__all__ = [
    "FAMILIES",
    "SDXL",
    "STABLE_DIFFUSION",
    "Family",
    "StageCall",
    "StageShapes",
    "decoder_of",
    "denoiser_of",
    "family_named",
    "family_of",
]


def family_named(pipeline_class: str) -> Family | None:
    """The family that a class of diffusers runs; None where there is none."""
    return next((one for one in FAMILIES if one.pipeline_class == pipeline_class), None)


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline, by its class or one that it is derived from, else by its parts."""
    for kind in type(pipeline).__mro__:
        if found := family_named(kind.__name__):
            return found
    return next((one for one in FAMILIES if hasattr(pipeline, one.denoiser)), FAMILIES[0])


def denoiser_of(pipeline: Any) -> Any:
    """The component that predicts the noise. Raises AttributeError where there is none."""
    return getattr(pipeline, family_of(pipeline).denoiser)


def decoder_of(pipeline: Any) -> Any:
    """The component that makes images of latents. Raises AttributeError where there is none."""
    return getattr(pipeline, family_of(pipeline).decoder)
