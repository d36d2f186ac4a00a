"""The gates of growth and of climbing latency: what piles up is found, noise is not."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from invariant_cases import assert_failed, assert_said, opened
from latentcy.core.pairs import Pairs
from latentcy.gates.invariants.growth import (
    CALLS,
    LEAST_PAIRS,
    Growth,
    climbing_verdict,
    grow,
    growth_verdict,
    judge_growth,
)

FLAT = Growth(
    tensor_bytes=(8,) * CALLS,
    device_bytes=(),
    objects=(2,) * CALLS,
    items=(100,) * CALLS,
    hooks=(0,) * CALLS,
    resident_bytes=(2**30,) * CALLS,
    operators=(500, 500),
)


def at_each_call(act: Any):
    """A recipe: `act(pipeline, prompt)` runs whenever a prompt is encoded."""

    def prepare(pipeline: Any) -> None:
        encode = pipeline.encode_prompt

        def encode_prompt(prompt: Any, *arguments: Any, **settings: Any) -> Any:
            act(pipeline, prompt)
            return encode(prompt, *arguments, **settings)

        pipeline.encode_prompt = encode_prompt

    return prepare


def test_a_healthy_case_is_flat_and_left_as_it_was() -> None:
    sampler = opened()
    state = dict(vars(sampler.pipeline.scheduler))
    growth = grow(sampler)
    assert judge_growth(growth).status == "passed", growth
    assert len(set(growth.tensor_bytes[2:])) == 1
    assert vars(sampler.pipeline.scheduler) == state


def test_a_list_that_collects_latents_is_found_and_told() -> None:
    kept: list[torch.Tensor] = []

    def prepare(pipeline: Any) -> None:
        decode = pipeline.vae.decode

        def collecting(z: torch.Tensor, **settings: Any) -> Any:
            kept.append(z)
            return decode(z, **settings)

        pipeline.vae.decode = collecting

    verdict = growth_verdict(opened(prepare))
    assert_failed(verdict, "live tensors grew by 1.02e.03 bytes a call")
    assert_said(verdict, "a list of .* items")


def test_arrays_that_pile_up_on_the_host_are_found() -> None:
    kept: list[np.ndarray] = []
    act = at_each_call(lambda pipeline, prompt: kept.append(np.zeros(99)))
    assert_failed(growth_verdict(opened(act)), "what lists and dicts keep grew by 1 items a call")


def test_a_cache_of_prompts_without_end_is_found() -> None:
    cache: dict[str, int] = {}
    act = at_each_call(lambda pipeline, prompt: cache.setdefault(str(prompt), len(cache)))
    verdict = growth_verdict(opened(act))
    assert_failed(verdict, "grew by 1 items a call.*kept by a dict of")


def test_a_cache_that_was_frozen_before_is_looked_at_too() -> None:
    cache: dict[int, float] = {}
    gc.freeze()
    sampler = opened(prepare=at_each_call(lambda *_: cache.update({len(cache): 0.5})))
    assert_failed(growth_verdict(sampler), "kept by a dict of")
    assert gc.get_freeze_count() == 0


def test_a_cache_with_an_end_passes() -> None:
    cache: dict[int, str] = {}
    act = at_each_call(lambda pipeline, prompt: cache.update({len(cache) % 2: str(prompt)}))
    assert growth_verdict(opened(act)).status == "passed"


def test_hooks_that_pile_up_are_found() -> None:
    def hook(pipeline: Any, prompt: Any) -> None:
        pipeline.unet.conv_in.register_forward_hook(lambda module, given, output: output + 0)

    verdict = growth_verdict(opened(at_each_call(hook)))
    assert_failed(verdict, r"hooks grew by 1 hooks a call.*ran \d+ operators after 8 calls, and")


def test_wrappers_that_nest_from_call_to_call_are_found() -> None:
    def nest(pipeline: Any, prompt: Any) -> None:
        forward = pipeline.unet.forward
        pipeline.unet.forward = lambda *given, **more: forward(*given, **more)

    assert_failed(growth_verdict(opened(at_each_call(nest))), r"grew by \S+ objects a call")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"device_bytes": tuple(range(0, 512 * CALLS, 512))},
            "CUDA's allocated memory grew by 512",
        ),
        ({"tensor_bytes": (0, 0, 0, 4, 4, 8, 8, 12)}, "live tensors"),
        ({"operators": (500, 501)}, "501 operators after 8 calls, and 500 before"),
    ],
)
def test_each_series_that_grows_fails(changes: dict[str, Any], said: str) -> None:
    assert_failed(judge_growth(replace(FLAT, **changes)), said)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tensor_bytes": (0, 900, 999, 999, 999, 999, 999, 999)},
        {"objects": (0, 0, 2, 4, 4, 4, 6, 6)},
        {"items": (0, 5, 9, 12, 3, 9, 12, 3)},
        {"resident_bytes": tuple(range(0, 2**20 * CALLS, 2**20))},
    ],
    ids=["flat", "warming up", "small change", "up and down", "resident memory"],
)
def test_what_does_not_grow_passes(changes: dict[str, Any]) -> None:
    assert judge_growth(replace(FLAT, **changes)).status == "passed"


def paired(count: int, *, climb: float = 0.0, noise: float = 0.03, seed: int = 0) -> Pairs:
    """Pairs with noise on each side, common drift, and a candidate that climbs."""
    chance = np.random.default_rng(seed)
    drift = np.linspace(0, 0.3, count) + np.cumsum(chance.normal(0, 0.01, count))
    reference = np.exp(drift + chance.normal(0, noise, count))
    candidate = np.exp(drift + chance.normal(0, noise, count) + climb * np.arange(count))
    return Pairs(tuple(reference), tuple(candidate), (True,) * count, 0)


def test_latency_that_climbs_with_every_call_fails() -> None:
    verdict = climbing_verdict(paired(20, climb=0.03))
    assert_failed(verdict, r"latency changes by \+\d\.\d+% .* at most 0.2% is allowed")


def test_drift_that_both_share_and_noise_are_no_climb() -> None:
    statuses = [climbing_verdict(paired(20, seed=seed)).status for seed in range(300)]
    assert statuses.count("failed") == 0
    assert statuses.count("passed") >= 290


def test_one_slow_round_is_no_climb() -> None:
    pairs = paired(12)
    slow = (*pairs.candidate[:-1], 10 * pairs.candidate[-1])
    assert climbing_verdict(replace(pairs, candidate=slow)).status != "failed"


def test_a_candidate_that_gets_faster_passes() -> None:
    assert climbing_verdict(paired(20, climb=-0.03)).status == "passed"


def test_too_few_pairs_are_inconclusive() -> None:
    verdict = climbing_verdict(paired(LEAST_PAIRS - 1, climb=0.5))
    assert verdict.status == "inconclusive"
    assert_said(verdict, "9 pairs, and a slope needs 10")


def test_noise_that_hides_any_slope_is_inconclusive() -> None:
    assert climbing_verdict(paired(10, noise=0.5)).status == "inconclusive"


@pytest.mark.parametrize("bad", [math.nan, 0.0, math.inf])
def test_seconds_that_are_none_fail(bad: float) -> None:
    pairs = paired(10)
    verdict = climbing_verdict(replace(pairs, candidate=(*pairs.candidate[:-1], bad)))
    assert verdict.status == "failed"
