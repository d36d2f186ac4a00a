"""The gate on prompts: does the pipeline read every one of them to its end?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.measure.prompt_coverage import Cut, count, cut, reading, unknown_words
from latentcy.pipelines.families import family_of

GATE = "tokens"
_NAMED = 5  # prompts or words that a sentence names
_QUOTED = 60  # characters of a prompt that it quotes


def tokens_verdict(prompts: Sequence[str], tokenizer: Any, *, pipeline: Any = None) -> Verdict:
    """Does the pipeline read every prompt to its end?

    Args:
        prompts: texts, at least one.
        tokenizer: the pipeline's.
        pipeline: a Stable Diffusion pipeline, loaded. With it the text encoder's positions count,
            not those that the tokenizer states, and it encodes the longest
            prompt that fits and the same one with another last word: equal embeddings show
            that the end is not read.

    Returns:
        failed where the end of a prompt that fits is not read; inconclusive where a prompt does not
        fit, so that its images say nothing about the words that are cut, or where the embeddings
        are not finite. Words that the tokenizer does not know are named and change no status.
    """
    positions = _positions(tokenizer, pipeline)
    status, why = _judge(prompts, tokenizer, positions, pipeline)
    unknown = unknown_words(prompts, tokenizer)
    return Verdict(GATE, status, why + (_unknown_clause(unknown, len(prompts)) if unknown else ""))


def _judge(
    prompts: Sequence[str], tokenizer: Any, positions: int, pipeline: Any
) -> tuple[str, str]:
    read = None
    if pipeline is not None:
        read = reading(prompts, tokenizer, pipeline, positions=positions)
    if read is not None and read.read is None:
        why = "the text embeddings are not finite, so that no prompt can be said to be read"
        return INCONCLUSIVE, f"{why} ({_quoted(read.prompt)})"
    if read is not None and read.read != read.words:
        return FAILED, (
            f"the end of a prompt is not read: of {_quoted(read.prompt)} ({read.tokens} tokens, "
            f"{positions} positions) only the first {read.read} of {read.words} words change the "
            "text embeddings; look for what cuts or drops the prompt between the pipeline's "
            "tokenizer and its text encoder"
        )
    if cuts := cut(prompts, tokenizer, positions=positions):
        return INCONCLUSIVE, _cut_sentence(cuts, len(prompts))
    longest = max(count(prompt, tokenizer) for prompt in prompts)
    return PASSED, (
        f"no prompt is longer than {positions} tokens (the longest of {len(prompts)} has {longest})"
    )


def _positions(tokenizer: Any, pipeline: Any) -> int:
    encoders = family_of(pipeline).text_encoders
    encoder = getattr(pipeline, encoders[0], None)
    stated = getattr(getattr(encoder, "config", None), "max_position_embeddings", None)
    return stated if isinstance(stated, int) else tokenizer.model_max_length


def _cut_sentence(cuts: Sequence[Cut], total: int) -> str:
    named = [f"prompt {one.number} ({one.tokens} tokens) loses {_quoted(one.lost)}" for one in cuts]
    more = f", and {len(cuts) - _NAMED} more" if len(cuts) > _NAMED else ""
    return (
        f"{len(cuts)} of {total} prompts are longer than the {cuts[0].positions} tokens that are "
        f"read, and their images say nothing about the rest: {', '.join(named[:_NAMED])}{more}; "
        "shorten them"
    )


def _unknown_clause(unknown: Mapping[int, Sequence[str]], total: int) -> str:
    words = list(dict.fromkeys(word for one in unknown.values() for word in one))
    return (
        f"; {len(unknown)} of {total} prompts have words that this model was never taught, so that "
        f"CLIP cannot judge them fairly: {_listed([_quoted(word) for word in words])} "
        f"(prompts {_listed([str(number) for number in unknown])})"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[: _QUOTED - 3]}...")
