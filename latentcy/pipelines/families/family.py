"""What one kind of pipeline is made of, and how it is asked for what others are asked for too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Family:
    """One kind of pipeline: the names of its parts, and what only it can say.

    Attributes:
        name: "stable_diffusion".
        pipeline_class: the class of diffusers that runs it.
        denoiser, decoder: the components that predict the noise, and that make images of latents.
        text_encoders, tokenizers: the components that read the prompt, pair by pair.
        encode: the pipeline's method that encodes prompts.
        left_out: arguments of `from_pretrained` that leave out what is not measured.
        upcasts_decoder: whether the pipeline decodes in float32 where it runs in float16 and the
            decoder's config says `force_upcast`.
        distilled, tiny: folders beside a local pipeline's: another denoiser, another decoder.
        image_size: of the denoiser's and the decoder's config, pixels of a side; None where they do
            not say.
        guidance_scale: by default, of images of a size.
        guided_rows: of a pipeline and a guidance scale: the rows that the denoiser is given of an
            image, two where it is guided by a prompt and its absence in one call.
        noise_shape: of a pipeline and an image's height and width: (channels, height, width) of the
            latents it starts from.
        embeddings: of a pipeline and prompts: float32 [n, positions, width] on the CPU, as the
            pipeline makes them without guidance.
        stage_calls: of a pipeline and shapes: the calls of "text_encoding", "step" and "decoding".
    """

    name: str
    pipeline_class: str
    denoiser: str
    decoder: str
    text_encoders: tuple[str, ...]
    tokenizers: tuple[str, ...]
    encode: str
    left_out: Mapping[str, Any]
    upcasts_decoder: bool
    distilled: str
    tiny: str
    image_size: Callable[[Mapping[str, Any], Mapping[str, Any]], int | None]
    guidance_scale: Callable[[int], float]
    guided_rows: Callable[[Any, float], int]
    noise_shape: Callable[[Any, int, int], tuple[int, int, int]]
    embeddings: Callable[[Any, Sequence[str]], torch.Tensor]
    stage_calls: Callable[[Any, StageShapes], Mapping[str, tuple[StageCall, ...]]]

    @property
    def weighted(self) -> tuple[str, ...]:
        """The components that hold weights."""
        return (self.denoiser, self.decoder, *self.text_encoders)

    @property
    def parts(self) -> tuple[str, ...]:
        """Every component that a saved pipeline has to have."""
        return (*self.weighted, *self.tokenizers, "scheduler")

    @property
    def in_order(self) -> tuple[str, ...]:
        """The components that hold weights, in the order in which a generation runs them."""
        return (*self.text_encoders, self.denoiser, self.decoder)


@dataclass(frozen=True)
class StageShapes:
    """For how much a stage is called: images, rows an image (two with guidance), latent pixels."""

    images: int
    rows: int
    height: int
    width: int


@dataclass(frozen=True)
class StageCall:
    """One call of a stage's module.

    Attributes:
        module: the component as the pipeline has it.
        call: of a module of its class and config without data, the call to be counted.
    """

    module: Any
    call: Callable[[Any], Any]
