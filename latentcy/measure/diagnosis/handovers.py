"""A generation's passage through its pipeline: what is handed on, and where it is just now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from latentcy.pipelines.families import family_of
from latentcy.pipelines.interception import wrapped


@dataclass(frozen=True)
class Handover:
    """Values that one part of the pipeline hands to the next.

    Attributes:
        kind: "embedding" [n, tokens, width], "noise", "prediction", "latents", "handed"
            [n, c, h, w], "decoded", "checked" [n, 3, h, w] around -1..1, or "final" [n, 3, h, w]
            in 0..1, in this order.
        values: what is handed on.
        sources: what it was made of, where that is known.
        component: where it was made: as OverflowOrigin's.
        module: the same.
        born: what OverflowOrigin says of a value that is not finite here for the first time.
        where: the stage, as `Passage.where`.
    """

    kind: str
    values: torch.Tensor
    sources: tuple[Any, ...]
    component: str
    module: str
    born: str
    where: str


class Passage:
    """Where a generation is just now."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._phase = ""
        self.done = 0  # denoising steps

    def enter(self, phase: str) -> None:
        """Go on to "encoding", "denoising", "decoding" or "after"; encoding begins anew."""
        self._phase = phase
        if phase == "encoding":
            self.done = 0

    @property
    def where(self) -> str:
        """In words, as "at denoising step 2 of 4 (timestep 501)"; "" outside the pipeline."""
        if self._phase != "denoising":
            return _PHASES[self._phase]
        timesteps = getattr(getattr(self._pipeline, "scheduler", None), "timesteps", ())
        if self.done >= len(timesteps):
            return "after the last denoising step"
        step = f"at denoising step {self.done + 1} of {len(timesteps)}"
        return f"{step} (timestep {float(timesteps[self.done]):g})"


@contextlib.contextmanager
def followed(pipeline: Any, take: Callable[[Handover], None]) -> Iterator[Passage]:
    """Follow the pipeline's calls for the duration, and `take` what is handed on.

    Wraps the method that encodes prompts, the scheduler's `step`, the decoder's `decode`,
    `run_safety_checker` and the image processor's `postprocess`, as far as there are any.
    """
    passage, family = Passage(pipeline), family_of(pipeline)

    def hand(kind: str, values: Any, *sources: Any) -> None:
        if isinstance(values, torch.Tensor) and values.is_floating_point() and values.numel():
            made = _made(pipeline, kind)
            take(Handover(kind, values, sources, *made, where=passage.where))

    def encode(original: Callable[..., Any], *given: Any, **settings: Any) -> Any:
        passage.enter("encoding")
        result = original(*given, **settings)
        for each in result if isinstance(result, tuple) else (result,):
            hand("embedding", each)
        passage.enter("denoising")
        return result

    def step(original: Callable[..., Any], *given: Any, **settings: Any) -> Any:
        named = dict(zip(("model_output", "timestep", "sample"), given, strict=False)) | settings
        prediction, sample = named.get("model_output"), named.get("sample")
        if passage.done == 0:
            hand("noise", sample)
        hand("prediction", prediction)
        result = original(*given, **settings)
        made = result[0] if isinstance(result, tuple) else getattr(result, "prev_sample", None)
        hand("latents", made, prediction, sample)
        passage.done += 1
        return result

    def decode(original: Callable[..., Any], z: Any, *given: Any, **settings: Any) -> Any:
        passage.enter("decoding")
        hand("handed", z)
        result = original(z, *given, **settings)
        sample = result[0] if isinstance(result, tuple) else getattr(result, "sample", None)
        hand("decoded", sample, z)
        passage.enter("after")
        return result

    def run_safety_checker(original: Callable[..., Any], *given: Any, **settings: Any) -> Any:
        result = original(*given, **settings)
        hand("checked", result[0] if isinstance(result, tuple) else None, *given[:1])
        return result

    def postprocess(original: Callable[..., Any], *given: Any, **settings: Any) -> Any:
        result = original(*given, **settings)
        if getattr(result, "ndim", 0) == 4:  # the safety checker's own call makes a list
            images = torch.as_tensor(result)
            last = images.permute(0, 3, 1, 2) if images.shape[-1] == 3 else images
            hand("final", last, *given[:1])
        return result

    with contextlib.ExitStack() as stack:
        for owner, wrapper in (
            (pipeline, run_safety_checker),
            (getattr(pipeline, "scheduler", None), step),
            (getattr(pipeline, family.decoder, None), decode),
            (getattr(pipeline, "image_processor", None), postprocess),
        ):
            if callable(getattr(owner, wrapper.__name__, None)):
                stack.enter_context(wrapped(owner, wrapper.__name__, wrapper))
        if callable(getattr(pipeline, family.encode, None)):
            stack.enter_context(wrapped(pipeline, family.encode, encode))
        yield passage


_PHASES = {
    "": "",
    "encoding": "while encoding the prompt",
    "decoding": "while decoding",
    "after": "after decoding",
}


def _made(pipeline: Any, kind: str) -> tuple[str, str, str]:
    """Component, module and birth of what is handed on as `kind`."""
    family = family_of(pipeline)
    denoiser = getattr(pipeline, family.denoiser, None)
    if kind == "prediction" and denoiser is not None and not isinstance(denoiser, nn.Module):
        # Hooks cannot look into it.
        return family.denoiser, type(denoiser).__name__, "in the module"
    if kind == "latents":
        return "scheduler", f"{type(pipeline.scheduler).__name__}.step", "in the module"
    return {
        "embedding": ("pipeline", family.encode, "between its parts"),
        "noise": ("pipeline", "scheduler.step", "before the module"),
        "prediction": ("pipeline", "scheduler.step", "before the module"),
        "handed": ("pipeline", f"{family.decoder}.decode", "before the module"),
        "decoded": (family.decoder, "decode", "between its parts"),
        "checked": ("pipeline", "run_safety_checker", "between its parts"),
        "final": ("pipeline", "image_processor.postprocess", "between its parts"),
    }[kind]
