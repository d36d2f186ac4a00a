"""A loaded case that generates: plainly for the clock, or observed from inside."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines import time_spent as spent
from latentcy.pipelines.devices import global_switches as flags
from latentcy.pipelines.devices.device import (
    Device,
    all_cores,
    emulates,
    free,
    is_out_of_memory,
    switches,
    synchronize,
)
from latentcy.pipelines.families import decoder_of, denoiser_of, family_of
from latentcy.pipelines.interception import wrapped
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import Workload, draw_latents, generators

__all__ = ["Generation", "Sampler", "is_out_of_memory", "open_sampler", "untimed"]


@dataclass(frozen=True)
class Generation:
    """What came out; values are as they were born, so any of them may be NaN."""

    images: np.ndarray  # [n, height, width, 3] float32, nominally 0..1, before any rounding
    latents: np.ndarray | None = None  # [n, c, h, w] float32, as handed to the decoder
    decoded: np.ndarray | None = None  # [n, 3, height, width] float32, raw, not clamped
    flagged: tuple[bool, ...] | None = None  # [n] by the safety checker; None where it said nothing


class Sampler:
    """One model with one variant on one device, loaded, and the workload it is run on."""

    def __init__(
        self,
        *,
        model: Model,
        variant: Variant,
        device: Device,
        workload: Workload,
        pipeline: Any,
        switched: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.variant = variant
        self.device = device
        self.workload = workload
        self.pipeline = pipeline
        self.generating_seconds = 0.0  # spent inside the pipeline, in all calls
        self._switched = dict(switched or {})  # the global switches that `prepare` set
        self._noise: dict[tuple[int, ...], tuple[torch.Tensor, list[torch.Generator]]] = {}

    def generate(
        self, prompts: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> Generation:
        """One call of the pipeline, the device idle again when it returns; nothing captured.

        Without `prompts` the workload's one prompt is drawn once for each seed; with them
        image i is prompts[i] from seeds[i]. Raises ValueError where their numbers differ.
        """
        seeds = tuple(self.workload.seeds if seeds is None else seeds)
        return self._call(prompts, seeds)

    def seconds(self) -> float:
        """The seconds that one generation of the workload takes, the device idle again after it."""
        started = time.perf_counter()
        self.generate()
        return time.perf_counter() - started

    def observe(
        self, prompts: Sequence[str], seeds: Sequence[int], *, batch: int = 4
    ) -> Generation:
        """Images of prompts[i] from seeds[i], with latents, raw decoder output and NSFW flags.

        Runs `batch` images at a time. The wrapper that captures is gone when this returns.
        """
        if len(prompts) != len(seeds) or not prompts:
            raise ValueError(f"{len(prompts)} prompts for {len(seeds)} seeds")
        made: list[Generation] = []
        latents: list[np.ndarray] = []
        decoded: list[np.ndarray] = []
        for start in range(0, len(prompts), batch):
            part = slice(start, start + batch)
            with self._watch(latents, decoded):
                made.append(self._call(prompts[part], tuple(seeds[part])))
        told = [each.flagged for each in made if each.flagged is not None]
        return Generation(
            images=np.concatenate([each.images for each in made]),
            latents=np.concatenate(latents) if latents else None,
            decoded=np.concatenate(decoded) if decoded else None,
            flagged=tuple(itertools.chain(*told)) if len(told) == len(made) else None,
        )

    def close(self) -> None:
        """Let the pipeline go and give its memory back; the sampler cannot be used after it."""
        self.pipeline = None
        self._noise.clear()
        free(self.device)

    def _call(self, prompts: Sequence[str] | None, seeds: tuple[int, ...]) -> Generation:
        if prompts is not None and len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts for {len(seeds)} seeds")
        prompt = self.workload.prompt if prompts is None else list(prompts)
        latents, drawn_by = self._starting_noise(seeds)
        more = {"generator": drawn_by} if self._takes_generators else {}
        with (
            flags.applied(self._switched),
            switches(tf32=self.variant.tf32),
            self._autocast(),
            self._counted(),
        ):
            output = self.pipeline(
                prompt=prompt,
                num_images_per_prompt=len(seeds) if prompts is None else 1,
                height=self.workload.height,
                width=self.workload.width,
                num_inference_steps=self.workload.steps,
                guidance_scale=self.workload.guidance_scale,
                latents=latents,
                output_type="np",
                **more,
            )
            synchronize(self.device)
        images = np.asarray(output.images, dtype=np.float32)
        flagged = getattr(output, "nsfw_content_detected", None)
        if flagged is None or len(flagged) != len(images):
            return Generation(images=images)
        return Generation(images=images, flagged=tuple(map(bool, flagged)))

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.generating_seconds += seconds
            spent.generated(seconds)

    @functools.cached_property
    def _takes_generators(self) -> bool:
        """Whether the pipeline takes what the noise of its steps is to be drawn by."""
        return "generator" in inspect.signature(self.pipeline.__call__).parameters

    def _starting_noise(self, seeds: tuple[int, ...]) -> tuple[torch.Tensor, list[torch.Generator]]:
        """The seeds' noise in the denoiser's dtype, and the generators that drew it.

        By those the steps draw theirs, where the scheduler draws any. The workload's own noise is
        kept on the device, with where its generators stood.
        """
        if seeds in self._noise:
            noise, kept = self._noise[seeds]
            return noise, [each.clone_state() for each in kept]
        drawn_by = generators(seeds)
        work, pipeline = self.workload, self.pipeline
        shape = family_of(pipeline).noise_shape(pipeline, work.height, work.width)
        channels, height, width = shape
        noise = draw_latents(drawn_by, channels=channels, height=height, width=width)
        noise = noise.to(self.device.torch, denoiser_of(pipeline).dtype)
        if seeds == self.workload.seeds:
            self._noise[seeds] = noise, [each.clone_state() for each in drawn_by]
        return noise, drawn_by

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        name = self.variant.resolved_autocast(self.device)
        if name is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.kind, dtype=getattr(torch, name))

    @contextlib.contextmanager
    def _watch(self, latents: list[np.ndarray], decoded: list[np.ndarray]) -> Iterator[None]:
        """Keep what goes into and comes out of the pipeline's decoder."""

        def decode(original: Callable[..., Any], z: torch.Tensor, *rest: Any, **settings: Any):
            result = original(z, *rest, **settings)
            sample = result[0] if isinstance(result, tuple) else result.sample
            latents.append(_array(z))
            decoded.append(_array(sample))
            return result

        with wrapped(decoder_of(self.pipeline), "decode", decode):
            yield


def untimed(sampler: Sampler) -> contextlib.AbstractContextManager[None]:
    """For what no clock looks at: all cores for a dtype that the CPU emulates, else as it is.

    Emulated arithmetic gains nearly as much as there are cores, a model as small as the miniature
    in fp32 nothing.
    """
    variant, device = sampler.variant, sampler.device
    stated = (variant.resolved_dtype(device), variant.resolved_autocast(device))
    emulated = any(emulates(device, dtype) for dtype in stated if dtype)
    return all_cores(device) if emulated else contextlib.nullcontext()


def open_sampler(model: Model, variant: Variant, device: Device, workload: Workload) -> Sampler:
    """Load the case. Raises LatentcyError as `load_pipeline` does, or for an impossible size."""
    # Takes diffusers, whose import takes seconds: a process that opens no case goes without.
    from latentcy.pipelines.loading import load_pipeline

    with spent.loading(), flags.recorded() as switched:
        pipeline = load_pipeline(model, variant, device, scheduler=workload.scheduler)
    scale = pipeline.vae_scale_factor
    if workload.height % scale or workload.width % scale:
        raise LatentcyError(
            found=f"images of {workload.width} by {workload.height} pixels",
            expected=f"multiples of {scale}, the autoencoder's scale",
            do="choose another size",
        )
    return Sampler(
        model=model,
        variant=variant,
        device=device,
        workload=workload,
        pipeline=pipeline,
        switched=switched,
    )


def _array(tensor: torch.Tensor) -> np.ndarray:
    """A copy: a safety checker blacks images in place, and would black what was captured."""
    return tensor.detach().to("cpu", torch.float32, copy=True).numpy()
