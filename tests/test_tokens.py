"""What of a prompt is read, and the gate that says what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from latentcy.core.data import PROMPTS_FOLDER
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.gates.prompt_coverage import tokens_verdict
from latentcy.measure.prompt_coverage import cut, reading, unknown_words
from latentcy.pipelines.models.catalog import MINIATURE
from latentcy.pipelines.prompt_file import read_prompts
from tiny import POSITIONS, build_tiny

PROMPTS = ("a red circle on a white background", "an astronaut riding a black horse on a beach")
LONG = " ".join(["a small red circle on a blue background"] * 5)  # 40 words, each one token


@pytest.fixture(scope="module")
def miniature() -> Any:
    return _loaded(MINIATURE.pipeline.location)


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _loaded(str(build_tiny(tmp_path_factory.mktemp("tiny")) / "pipeline"))


@pytest.fixture
def pipeline(miniature: Any) -> Iterator[Any]:
    """The miniature's, whose encoding a test may replace."""
    yield miniature
    vars(miniature).pop("encode_prompt", None)


def test_a_prompt_with_too_many_tokens_is_named_with_the_words_that_it_loses(
    miniature: Any,
) -> None:
    (one,) = cut([PROMPTS[0], LONG, PROMPTS[1]], miniature.tokenizer)
    assert (one.number, one.tokens, one.positions) == (2, 42, 32)
    assert one.lost == " ".join(LONG.split()[30:])


def test_a_prompt_that_just_fits_is_not_cut_and_one_word_more_is(miniature: Any) -> None:
    words = LONG.split()
    fits, longer = " ".join(words[:30]), " ".join(words[:31])
    assert cut([fits], miniature.tokenizer) == ()
    assert [one.lost for one in cut([longer], miniature.tokenizer)] == [words[30]]


def test_what_is_lost_of_one_endless_word_is_still_said(miniature: Any) -> None:
    (one,) = cut(["a" * 50], miniature.tokenizer)
    assert one.tokens == 52 and one.lost == "a" * 20


def test_a_tokenizer_without_a_length_cuts_nothing(miniature: Any) -> None:
    assert cut([LONG], miniature.tokenizer, positions=10**30) == ()


def test_words_outside_the_miniatures_vocabulary_are_unknown(miniature: Any) -> None:
    prompts = ["a red house, on mars.", "a red giraffe on a blue background", "東京 on mars"]
    assert unknown_words(prompts, miniature.tokenizer) == {2: ("giraffe",), 3: ("東京",)}


def test_a_vocabulary_of_letters_knows_every_word_of_them(random_model: Any) -> None:
    assert unknown_words(["a red giraffe", "東京"], random_model.tokenizer) == {2: ("東京",)}


def test_the_miniatures_own_prompts_pass(miniature: Any) -> None:
    prompts = read_prompts(PROMPTS_FOLDER / "miniature.txt")
    verdict = tokens_verdict(prompts, miniature.tokenizer, pipeline=miniature)
    assert verdict.status == PASSED and verdict.gate == "tokens"
    assert verdict.reason == "no prompt is longer than 32 tokens (the longest of 64 has 19)"


def test_a_random_model_reads_prompts_to_their_end(random_model: Any) -> None:
    verdict = tokens_verdict(PROMPTS, random_model.tokenizer, pipeline=random_model)
    assert verdict.status == PASSED and str(POSITIONS) in verdict.reason


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_reads_prompts_to_their_end(dtype: torch.dtype) -> None:
    pipeline = _loaded(MINIATURE.pipeline.location, dtype)
    assert tokens_verdict(PROMPTS, pipeline.tokenizer, pipeline=pipeline).status == PASSED


def test_a_prompt_that_is_cut_is_no_pass_and_its_lost_words_are_said(miniature: Any) -> None:
    verdict = tokens_verdict([PROMPTS[0], LONG], miniature.tokenizer, pipeline=miniature)
    assert verdict.status == INCONCLUSIVE
    assert "1 of 2 prompts are longer than the 32 tokens" in verdict.reason
    assert "prompt 2 (42 tokens) loses 'blue background a small red circle" in verdict.reason


def test_without_a_pipeline_the_tokenizers_own_length_counts(miniature: Any) -> None:
    assert tokens_verdict(PROMPTS, miniature.tokenizer).status == PASSED
    assert tokens_verdict([LONG], miniature.tokenizer).status == INCONCLUSIVE


def test_of_many_cut_prompts_the_first_are_named_and_the_rest_counted(miniature: Any) -> None:
    reason = tokens_verdict([LONG] * 9, miniature.tokenizer).reason
    assert "prompt 5 (" in reason and "prompt 6 (" not in reason and "and 4 more" in reason


def test_words_that_the_model_was_never_taught_are_said(miniature: Any) -> None:
    verdict = tokens_verdict([PROMPTS[0], "a giraffe"], miniature.tokenizer)
    assert verdict.status == PASSED
    assert (
        "1 of 2 prompts have words" in verdict.reason and "'giraffe' (prompts 2)" in verdict.reason
    )


def test_a_pipeline_that_cuts_a_prompt_that_fits_fails(pipeline: Any) -> None:
    pipeline.encode_prompt = partial(_with_prompts, pipeline.encode_prompt, _first_five_words)
    verdict = tokens_verdict(PROMPTS, pipeline.tokenizer, pipeline=pipeline)
    assert verdict.status == FAILED
    assert "'an astronaut riding a black horse on a beach'" in verdict.reason
    assert "only the first 5 of 9 words" in verdict.reason


def test_a_pipeline_that_cuts_a_random_models_prompt_fails(random_model: Any) -> None:
    encode = random_model.encode_prompt
    try:
        random_model.encode_prompt = partial(_with_prompts, encode, _first_five_words)
        verdict = tokens_verdict(PROMPTS, random_model.tokenizer, pipeline=random_model)
    finally:
        del random_model.encode_prompt
    assert verdict.status == FAILED and "only the first 5 of 9 words" in verdict.reason


def test_a_tokenizer_that_was_told_a_shorter_length_fails(pipeline: Any) -> None:
    tokenizer = pipeline.tokenizer
    length, tokenizer.model_max_length = tokenizer.model_max_length, 6
    try:
        verdict = tokens_verdict(PROMPTS, tokenizer, pipeline=pipeline)
    finally:
        tokenizer.model_max_length = length
    assert verdict.status == FAILED and "only the first 4 of 9 words" in verdict.reason


def test_a_pipeline_that_reads_no_prompt_at_all_fails(pipeline: Any) -> None:
    pipeline.encode_prompt = lambda prompt, **_: (torch.zeros(len(prompt), 32, 128), None)
    verdict = tokens_verdict(PROMPTS, pipeline.tokenizer, pipeline=pipeline)
    assert verdict.status == FAILED and "only the first 0 of 9 words" in verdict.reason


def test_embeddings_that_are_not_finite_are_no_pass(pipeline: Any) -> None:
    pipeline.encode_prompt = lambda prompt, **_: (torch.full((len(prompt), 32, 8), torch.nan), None)
    verdict = tokens_verdict(PROMPTS, pipeline.tokenizer, pipeline=pipeline)
    assert verdict.status == INCONCLUSIVE and "not finite" in verdict.reason


def test_rounding_is_no_other_word(pipeline: Any) -> None:
    """Rows that should be equal and differ by rounding do not make a cut prompt pass."""
    original = pipeline.encode_prompt

    def encode(prompt: Sequence[str], **settings: Any) -> tuple[torch.Tensor, None]:
        rows, _ = _with_prompts(original, _first_five_words, prompt, **settings)
        noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
        return rows * (1 + 2**-9 * noise), None

    pipeline.encode_prompt = encode
    assert tokens_verdict(PROMPTS, pipeline.tokenizer, pipeline=pipeline).status == FAILED


@pytest.mark.parametrize("prompts", [[LONG], ["red"]], ids=["none fits", "one word"])
def test_prompts_that_hardly_can_be_changed_are_read_without_an_error(
    miniature: Any, prompts: list[str]
) -> None:
    read = reading(prompts, miniature.tokenizer, miniature, positions=32)
    assert read is None or read.read == read.words == 1


def _first_five_words(prompt: str) -> str:
    return " ".join(prompt.split()[:5])


def _with_prompts(encode: Any, change: Any, prompt: Sequence[str], **settings: Any) -> Any:
    return encode([change(one) for one in prompt], **settings)


def _loaded(folder: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )
    return pipeline.to(dtype)
