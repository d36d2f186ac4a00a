"""How much of a prompt is read: what is cut off, what is not known, where the encoder stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from latentcy.pipelines.families import family_of

# Two embeddings differ where any token's vector is further off than this share of its own length.
# Another word turns the vector at its place as a whole, on random weights too; rounding in bfloat16
# moves it by less than a hundredth, and two rows of one batch by nothing as a rule.
APART = 0.02

SMALL_VOCABULARY = 1000  # entries; a model with fewer has a small world (CLIP has 49408)
_WORD_END = "</w>"  # ends the entry of a whole word, as in CLIP's vocabulary
_END_WORDS = ("red", "mars", "blue", "a", "z")  # one of them takes the place of a last word


@dataclass(frozen=True)
class Cut:
    """A prompt with more tokens than there are positions.

    Attributes:
        number: of the prompt in its set, from 1.
        tokens: of the whole prompt, those at its start and end among them.
        positions: how many are read.
        lost: the words that are not read, or not whole.
    """

    number: int
    tokens: int
    positions: int
    lost: str


@dataclass(frozen=True)
class Reading:
    """How far the pipeline reads a prompt.

    Attributes:
        prompt: the longest that fits.
        tokens: of it.
        words: of it.
        read: up to which of its words, from 1, another word changes the text embeddings: `words`
            where it is read to its end, None where the embeddings are not finite.
    """

    prompt: str
    tokens: int
    words: int
    read: int | None


def count(prompt: str, tokenizer: Any) -> int:
    """The tokens of a prompt, those at its start and end among them."""
    return len(_ids(prompt, tokenizer))


def cut(prompts: Sequence[str], tokenizer: Any, *, positions: int | None = None) -> tuple[Cut, ...]:
    """The prompts that are longer than `positions`, by default the tokenizer's own (77 for CLIP).

    Nothing is cut where a tokenizer states no length.
    """
    positions = tokenizer.model_max_length if positions is None else positions
    return tuple(
        Cut(number, tokens, positions, _lost(prompt, tokenizer, positions))
        for number, prompt in enumerate(prompts, 1)
        if (tokens := count(prompt, tokenizer)) > positions
    )


def unknown_words(prompts: Sequence[str], tokenizer: Any) -> dict[int, tuple[str, ...]]:
    """Words that the tokenizer does not know, by the number of their prompt, from 1.

    Those with an unknown token; and where the vocabulary is small and made of words, as the
    miniature's is, those that are no entry of it: they reach the model letter by letter. CLIP's
    own vocabulary is made of bytes and knows everything.
    """
    vocabulary = tokenizer.get_vocab()
    whole = [one for one in vocabulary if one.endswith(_WORD_END) and len(one) > len(_WORD_END) + 1]
    in_words = bool(whole) and len(vocabulary) < SMALL_VOCABULARY
    found = {}
    for number, prompt in enumerate(prompts, 1):
        words = dict.fromkeys(prompt.split())
        if unknown := tuple(word for word in words if _is_unknown(word, tokenizer, in_words)):
            found[number] = unknown
    return found


@torch.no_grad()
def reading(
    prompts: Sequence[str], tokenizer: Any, pipeline: Any, *, positions: int
) -> Reading | None:
    """How far the pipeline reads the longest of the prompts that fit.

    The embeddings of the prompt are held against those of the same one with another last word, in
    one batch; where they are equal, against those with each single word changed. None where no
    prompt fits, or none has a last word that can be changed.
    """
    found = [(count(one, tokenizer), one, _other_end(one, tokenizer, positions)) for one in prompts]
    fitting = [(tokens, one, word) for tokens, one, word in found if word and tokens <= positions]
    if not fitting:
        return None
    tokens, prompt, word = max(fitting)
    words = prompt.split()

    def last_read(places: Sequence[int]) -> int | None:
        changed = [" ".join([*words[:at], word, *words[at + 1 :]]) for at in places]
        whole, *rows = family_of(pipeline).embeddings(pipeline, [" ".join(words), *changed])
        if not all(torch.isfinite(row).all() for row in (whole, *rows)):
            return None
        return max(
            (at + 1 for at, row in zip(places, rows, strict=True) if _apart(whole, row)), default=0
        )

    read = last_read([len(words) - 1])
    if read == 0:
        read = last_read(range(len(words)))
    return Reading(prompt, tokens, len(words), read)


def _lost(prompt: str, tokenizer: Any, positions: int) -> str:
    """The words from the first one on that is not read whole."""
    words = prompt.split()
    low, high = 0, len(words)  # the first `low` words fit, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        if count(" ".join(words[:middle]), tokenizer) <= positions:
            low = middle
        else:
            high = middle
    if low:
        return " ".join(words[low:])
    ids = _ids(prompt, tokenizer)  # one word without end: what its last tokens stand for
    return tokenizer.decode(ids[positions - 1 : -1]).strip() or prompt


def _is_unknown(word: str, tokenizer: Any, in_words: bool) -> bool:
    ids = _ids(word, tokenizer)[1:-1]
    if tokenizer.unk_token_id in ids:
        return True
    tokens = tokenizer.convert_ids_to_tokens(ids)
    return in_words and any(not token.endswith(_WORD_END) for token in tokens)


def _other_end(prompt: str, tokenizer: Any, positions: int) -> str | None:
    """A word of other tokens than the prompt's last one, with which it fits; None without one."""
    words = prompt.split()
    for word in _END_WORDS if words else ():
        ids = _ids(" ".join([*words[:-1], word]), tokenizer)
        if ids != _ids(prompt, tokenizer) and len(ids) <= positions:
            return word
    return None


def _apart(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether any token's vector differs; [positions, width] both."""
    return bool(((one - other).norm(dim=-1) > APART * one.norm(dim=-1)).any())


def _ids(prompt: str, tokenizer: Any) -> list[int]:
    """All tokens; `verbose` would warn of long prompts."""
    return tokenizer(prompt, truncation=False, padding=False, verbose=False).input_ids
