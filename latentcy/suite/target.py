"""Where a run takes place: the device and the model, and why that model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import torch

from latentcy.core.errors import LatentcyError
from latentcy.core.settings import Settings
from latentcy.pipelines.devices.device import Device, find_device
from latentcy.pipelines.models.catalog import Model, resolve_model
from latentcy.pipelines.models.weights import fetch
from latentcy.pipelines.variants import Variant

SMALL = 64  # pixels: a model of this size is too small for several threads


def resolve_target(settings: Settings) -> tuple[Device, Model, str]:
    """The device and the model, and why that model; torch's threads are set on a CPU.

    Without --threads the device also knows how many there were, for what is not timed.

    Toy models get one thread: on two shared cores a second one makes them little faster, and their
    times many times as noisy (docs/method.md).
    """
    device = find_device(settings.device)
    model, reason = resolve_model(settings.model, device)
    if device.kind == "cpu":
        toy = model.height <= SMALL
        threads = settings.threads or (1 if toy else 0)
        cores = None if settings.threads else device.threads
        if threads:
            torch.set_num_threads(threads)
            device = replace(find_device("cpu"), cores=cores)
    return device, model, reason


def fetch_weights(model: Model, variants: Sequence[Variant]) -> None:
    """Has what the variants need here before anything runs, so that a download can be seen.

    Raises LatentcyError for a damaged scorer of a local model, by which every case is judged.
    Another part that cannot be had fails its own cases later, with the reason, and no other.
    """
    if model.scorer is not None and model.source != "hub":
        fetch(model.scorer)
    wanted = {
        model.scorer,
        *(model.distilled for variant in variants if variant.is_distilled),
        *(model.tiny for variant in variants if variant.is_tiny),
    }
    for weights in wanted - {None}:
        with contextlib.suppress(LatentcyError):
            fetch(weights)  # type: ignore[arg-type]
