"""The positive control of the black-image gate: an overflow made on purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from latentcy.core.errors import UnsuitableError
from latentcy.core.verdict import Verdict
from latentcy.gates.black_images import image_verdict
from latentcy.measure.diagnosis.investigation import investigate
from latentcy.measure.diagnosis.overflow import provoke_overflow
from latentcy.measure.images.health import look
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.families import decoder_of, family_of
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.sampler import Generation, open_sampler
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import workload

_STEPS = 4  # the decoder overflows whatever the latents are
_SEED = 2023


@dataclass(frozen=True)
class Control:
    """What the gate said of an autoencoder with one rescaled convolution."""

    module: str  # the rescaled module's name inside the autoencoder
    fp32_difference: float  # largest change of a pixel (0..1) that the rescaling makes in fp32
    fp32_verdict: Verdict
    fp16_verdict: Verdict


def overflow_control(model: Model, device: Device) -> Control:
    """Rescales a convolution before a group norm, and generates in fp32 and in fp16.

    Raises UnsuitableError where the model's autoencoder has no such convolution, or is never run in
    fp16.
    """
    names: list[str] = []

    def rescale(pipeline: Any) -> None:
        decoder = decoder_of(pipeline)
        forced = getattr(decoder.config, "force_upcast", False) and decoder.dtype == torch.float16
        if forced and family_of(pipeline).upcasts_decoder:
            why = "an autoencoder that its own config keeps out of float16 (force_upcast)"
            raise UnsuitableError(why)
        names.append(provoke_overflow(decoder))

    healthy = Variant("healthy", "Nothing.")
    rescaled = Variant("rescaled", "A convolution's scale.", prepare=rescale)
    plain, _ = _generate(model, device, healthy)
    fp32, fp32_verdict = _generate(model, device, rescaled)
    _, fp16_verdict = _generate(model, device, replace(rescaled, dtype="float16"))
    return Control(
        module=names[0],
        fp32_difference=float(np.abs(plain.images - fp32.images).max()),
        fp32_verdict=fp32_verdict,
        fp16_verdict=fp16_verdict,
    )


def _generate(model: Model, device: Device, variant: Variant) -> tuple[Generation, Verdict]:
    work = workload(
        "single", height=model.height, width=model.width, guidance_scale=model.guidance_scale
    )
    sampler = open_sampler(model, variant, device, replace(work, steps=_STEPS))
    try:
        asked = ([work.prompt], [_SEED])
        made = sampler.observe(*asked)
        healths = look(made.images, made.latents, made.decoded, made.flagged)
        findings = investigate(sampler, *asked, healths, batch=1)
        return made, image_verdict(healths, findings)
    finally:
        sampler.close()
