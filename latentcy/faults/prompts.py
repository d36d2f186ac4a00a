"""The prompt and its guidance: ignored, cut, mixed up, too weak or too strong."""

from __future__ import annotations

from typing import Any

import torch

from latentcy.faults.changes import on_embeddings, on_guidance, through
from latentcy.faults.fault import Fault, Prepare


def encode_instead(words: Any) -> Prepare:
    """The text encoder is given words(prompt) for each prompt."""

    def prepare(pipeline: Any) -> None:
        def encode(original: Any, prompt: Any, *rest: Any, **more: Any) -> Any:
            other = words(prompt) if isinstance(prompt, str) else [words(one) for one in prompt]
            return original(other, *rest, **more)

        through(pipeline, "encode_prompt", encode)

    return prepare


def cut_tokens(pipeline: Any) -> None:
    """The tokenizer keeps two words, and pads as if nothing were missing."""

    def tokenise(original: Any, text: Any, *rest: Any, **settings: Any) -> Any:
        made = original(text, *rest, **settings)
        if settings.get("padding") == "max_length":
            made.input_ids[:, 3:] = original.eos_token_id
        return made

    tokenizer = pipeline.tokenizer

    class Cut:
        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def __call__(self, *arguments: Any, **settings: Any) -> Any:
            return tokenise(tokenizer, *arguments, **settings)

    object.__setattr__(pipeline, "tokenizer", Cut())


def skip_layer(pipeline: Any) -> None:
    """The text encoder's last layer but one is taken for its last."""
    name, layers = next(
        (name, module)
        for name, module in pipeline.text_encoder.named_modules()
        if isinstance(module, torch.nn.ModuleList)
    )
    parent = pipeline.text_encoder.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], layers[:-1])


def skip_norm(pipeline: Any) -> None:
    """The text encoder's last layer norm is left out."""
    for name, module in pipeline.text_encoder.named_modules():
        if name.endswith("final_layer_norm"):
            module.forward = lambda hidden: hidden


def swap_prompts(pipeline: Any) -> None:
    """The negative prompt's embeddings stand where the prompt's should."""
    on_embeddings(pipeline, lambda text, empty: (empty, text))


def flatten_embeddings(pipeline: Any) -> None:
    """Each token is the mean of all: the order of the words is lost."""
    on_embeddings(pipeline, lambda text, empty: (text.mean(1, keepdim=True).expand_as(text), empty))


def weaken_embeddings(pipeline: Any) -> None:
    """Embeddings scaled down, as a prompt weighting that normalises wrongly does."""
    on_embeddings(pipeline, lambda text, empty: (0.6 * text, empty))


def no_guidance(pipeline: Any) -> None:
    """Both halves of the batch are predicted with the prompt, so guidance changes nothing."""
    on_guidance(pipeline, lambda without, with_prompt: (with_prompt, with_prompt))


def unguided(pipeline: Any) -> None:
    """The pipeline is asked for guidance and runs without."""
    kind = type(pipeline)

    class Unguided(kind):  # type: ignore[misc, valid-type]
        do_classifier_free_guidance = False

    pipeline.__class__ = Unguided


def stronger(factor: float) -> Prepare:
    """Guidance times `factor`."""
    return lambda pipeline: on_guidance(
        pipeline, lambda without, given: (without, without + factor * (given - without))
    )


def rescale(pipeline: Any) -> None:
    """The guided prediction is scaled down to the spread of the one with the prompt."""

    def halves(
        without: torch.Tensor, with_prompt: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        guided = without + 2.0 * (with_prompt - without)
        spread = tuple(range(1, guided.ndim))
        guided = (
            0.85 * guided * with_prompt.std(spread, keepdim=True) / guided.std(spread, keepdim=True)
        )
        return guided, guided

    on_guidance(pipeline, halves)


def reverse_guidance(pipeline: Any) -> None:
    """The two halves change places: guidance leads away from the prompt."""
    on_guidance(pipeline, lambda without, with_prompt: (with_prompt, without))


MEANT = ("CLIP", "SSIM", "image distance")
SAID = "SSIM|CLIP|image distance"
FAULTS = (
    Fault(
        "prompt-ignored",
        "The prompt is replaced by the empty one.",
        "huggingface/diffusers#779",
        encode_instead(lambda prompt: ""),
        ("CLIP",),
        "CLIP",
    ),
    Fault(
        "prompt-cut",
        "All but two tokens of the prompt are cut off.",
        "huggingface/diffusers#447",
        cut_tokens,
        ("CLIP", "tokens"),
        "CLIP|token",
    ),
    Fault(
        "words-reversed",
        "The words of the prompt are encoded in reverse.",
        "an order of tokens lost in a port",
        encode_instead(lambda prompt: " ".join(reversed(prompt.split()))),
        MEANT,
        SAID,
    ),
    Fault(
        "negative-as-prompt",
        "The negative prompt stands where the prompt should.",
        "huggingface/diffusers#779",
        swap_prompts,
        ("CLIP",),
        "CLIP",
    ),
    Fault(
        "clip-skip",
        "The text encoder's last layer is left out.",
        "huggingface/diffusers#14124",
        skip_layer,
        MEANT,
        SAID,
    ),
    Fault(
        "final-norm-lost",
        "The text encoder's last layer norm is left out.",
        "mindspore-lab/mindone#225",
        skip_norm,
        MEANT,
        SAID,
    ),
    Fault(
        "tokens-averaged",
        "Every token's embedding is the mean of all.",
        "a pooled embedding taken for the sequence",
        flatten_embeddings,
        MEANT,
        SAID,
    ),
    Fault(
        "embeddings-weakened",
        "The prompt's embeddings have three fifths of their size.",
        "a prompt weighting that normalises wrongly",
        weaken_embeddings,
        MEANT,
        SAID,
    ),
    Fault(
        "guidance-ignored",
        "The guidance scale changes nothing.",
        "huggingface/diffusers#13183",
        no_guidance,
        MEANT,
        SAID,
    ),
    Fault(
        "guidance-off",
        "The pipeline runs without guidance, half the batch.",
        "huggingface/diffusers#13183",
        unguided,
        (*MEANT, "schedule"),
        "SSIM|CLIP|guidance",
    ),
    Fault(
        "guidance-doubled",
        "Guidance is applied twice over.",
        "huggingface/diffusers#5882",
        stronger(2.0),
        MEANT,
        SAID,
    ),
    Fault(
        "guidance-rescaled",
        "The guided prediction is scaled down though nobody asked for it.",
        "arXiv:2305.08891, section 3.4",
        rescale,
        (*MEANT, "tone"),
        "SSIM|CLIP|contrast",
    ),
    Fault(
        "guidance-reversed",
        "The halves with and without prompt change places.",
        "ml-explore/mlx-swift-examples#170",
        reverse_guidance,
        ("CLIP",),
        "CLIP",
    ),
)
