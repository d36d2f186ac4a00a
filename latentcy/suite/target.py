"""Where a run takes place, and which of its cases are run here."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import torch

from latentcy.core.errors import LatentcyError
from latentcy.core.settings import Settings
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import Device, find_device
from latentcy.pipelines.models.catalog import Model, resolve_model
from latentcy.pipelines.models.weights import fetch
from latentcy.pipelines.variants import Variant

SMALL = 64  # pixels: a model of this size is too small for several threads


def chosen_cases(cases: Sequence[Case], settings: Settings) -> tuple[Case, ...]:
    """The cases that this process has to run; the others are there to be references.

    Raises LatentcyError where there are none.
    """
    number, shards = settings.shard
    mine = cases[number - 1 :: shards]
    if settings.case:
        mine = tuple(case for case in cases if case.variant.id == settings.case)
    if mine:
        return tuple(mine)
    what = f"--case {settings.case}" if settings.case else f"--shard {number}/{shards}"
    raise LatentcyError(
        found=f"no case for {what} among {len(cases)}",
        expected="one of " + ", ".join(case.variant.id for case in cases),
        do="correct it, or have fewer shards",
    )


def find_place(settings: Settings) -> tuple[Device, Model, str]:
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


def download_parts(model: Model, variants: Sequence[Variant]) -> None:
    """Has what the variants need here before anything runs, so that a download can be seen.

    Raises LatentcyError for a damaged scorer of a local model, by which every case is judged.
    Another part that cannot be had fails its own cases later, with the reason, and no other.
    """
    if model.scorer is not None and model.source != "hub":
        fetch(model.scorer)
    wanted = {
        model.scorer,
        *(model.distilled_unet for variant in variants if variant.unet == "distilled"),
        *(model.tiny_vae for variant in variants if variant.vae == "tiny"),
    }
    for weights in wanted - {None}:
        with contextlib.suppress(LatentcyError):
            fetch(weights)  # type: ignore[arg-type]
