"""Counters of a step, and the gates that hold them against a reference or what is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from invariant_cases import CPU, assert_failed, assert_said, opened
from latentcy.gates.invariants.operators import (
    Counters,
    count,
    operators_verdict,
    same_computation,
    syncs_verdict,
)
from latentcy.pipelines.variants import BUILTIN, STACK, Variant

BY_ID = {each.id: each for each in (*BUILTIN, *STACK)}


@pytest.fixture(scope="module")
def healthy() -> Counters:
    return count(opened())


def at_each_step(act: Any):
    """A recipe: `act` gets the sample at each of the scheduler's steps."""

    def prepare(pipeline: Any) -> None:
        step = pipeline.scheduler.step

        def acting(output: Any, timestep: Any, sample: Any, **settings: Any) -> Any:
            act(sample)
            return step(output, timestep, sample, **settings)

        pipeline.scheduler.step = acting

    return prepare


def test_the_same_case_counts_the_same(healthy: Counters) -> None:
    assert count(opened()) == healthy


def test_counting_leaves_the_sampler_as_it_was() -> None:
    sampler = opened()
    state = dict(vars(sampler.pipeline.scheduler))
    count(sampler)
    assert vars(sampler.pipeline.scheduler) == state


def test_counters_travel_as_json(healthy: Counters) -> None:
    assert Counters.from_dict(json.loads(json.dumps(healthy.to_dict()))) == healthy


def test_counters_of_another_kind_are_refused(healthy: Counters) -> None:
    data = healthy.to_dict()
    del data["syncs"]
    with pytest.raises(KeyError):
        Counters.from_dict(data)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda sample: sample.mean().item(), "7 synchronisations .6."),
        (lambda sample: sample.to("cpu"), "1 host reads .0."),
        (lambda sample: sample.cpu().numpy(), "2 host reads .0."),
        (lambda sample: bool(torch.isfinite(sample).all()), "7 synchronisations .6."),
        (lambda sample: sample[sample > 9], "7 synchronisations .6."),
    ],
    ids=["item", "to cpu", "numpy", "bool", "mask"],
)
def test_a_wait_at_each_step_is_found_and_its_place_is_named(
    healthy: Counters, act: Any, said: str
) -> None:
    verdict = syncs_verdict(count(opened(at_each_step(act))), reference=healthy)
    assert_failed(verdict, said)
    assert_said(verdict, r"more at test_counters\.py:<lambda>")


def test_as_many_waits_as_the_reference_pass(healthy: Counters) -> None:
    assert syncs_verdict(healthy, reference=healthy).status == "passed"


def test_what_is_stored_binds_where_there_is_no_reference(healthy: Counters) -> None:
    more = replace(healthy, syncs=healthy.syncs + 1)
    assert_failed(syncs_verdict(more, stored=healthy), "more than the stored")
    assert syncs_verdict(healthy, stored=more).status == "passed"


def test_waits_of_another_scheduler_are_inconclusive(healthy: Counters) -> None:
    more = replace(healthy, syncs=healthy.syncs + 1, scheduler="Other")
    assert syncs_verdict(more, reference=healthy).status == "inconclusive"


def test_nothing_to_hold_against_is_inconclusive(healthy: Counters) -> None:
    assert syncs_verdict(healthy).status == "inconclusive"
    assert operators_verdict(healthy).status == "inconclusive"


def test_figures_that_are_not_numbers_fail(healthy: Counters) -> None:
    nan = replace(healthy, syncs=float("nan"), operators=float("nan"))
    assert syncs_verdict(nan, reference=healthy).status == "failed"
    assert operators_verdict(nan, stored=healthy).status == "failed"


def test_work_that_is_done_twice_is_found_by_its_operators(healthy: Counters) -> None:
    def prepare(pipeline: Any) -> None:
        block = pipeline.unet.up_blocks[1]
        forward = block.forward

        def twice(*arguments: Any, **settings: Any) -> Any:
            forward(*arguments, **settings)
            return forward(*arguments, **settings)

        block.forward = twice

    verdict = operators_verdict(count(opened(prepare)), reference=healthy, same_computation=True)
    assert_failed(verdict, r"\+\d\d\.\d% against the 718 of the reference \(10% more allowed\): ")
    assert_said(
        verdict, r"\d+ more aten\..*; where that is meant, the variant states no_slower_on="
    )


def test_an_adapter_beside_each_projection_is_found_by_its_operators(healthy: Counters) -> None:
    def prepare(pipeline: Any) -> None:
        for name, layer in pipeline.unet.named_modules():
            if name.endswith(("to_q", "to_k", "to_v", "to_out.0")):
                down = torch.zeros(4, layer.in_features)
                up = torch.zeros(layer.out_features, 4)
                layer.register_forward_hook(
                    lambda module, given, output, down=down, up=up: (
                        output + given[0] @ down.T @ up.T
                    )
                )

    verdict = operators_verdict(count(opened(prepare)), reference=healthy, same_computation=True)
    assert_failed(verdict, r"more aten\.(mm|t|view|_unsafe_view|add|permute|transpose)")


def test_stored_operators_bind_either_way_at_the_same_versions(healthy: Counters) -> None:
    for share in (0.97, 1.03):
        other = replace(healthy, operators=healthy.operators * share)
        assert_failed(operators_verdict(healthy, stored=other), "2% either way allowed")
    near = replace(healthy, operators=healthy.operators * 1.01)
    assert operators_verdict(healthy, stored=near).status == "passed"


def test_stored_operators_of_other_versions_do_not_bind(healthy: Counters) -> None:
    other = replace(healthy, operators=1.0, versions={"torch": "1.0", "diffusers": "0.1"})
    verdict = operators_verdict(healthy, stored=other)
    assert verdict.status == "inconclusive"
    assert_said(verdict, "of torch 1.0 and diffusers 0.1, not torch")


def test_fewer_operators_than_the_reference_pass(healthy: Counters) -> None:
    fewer = replace(healthy, operators=healthy.operators / 2)
    verdict = operators_verdict(fewer, reference=healthy, same_computation=True)
    assert verdict.status == "passed"


@pytest.mark.parametrize(
    ("variant", "reference", "promised"),
    [
        ("precision/fp16", "precision/baseline", True),
        ("precision/bf16", "precision/baseline", True),
        ("precision/autocast", "precision/baseline", False),
        ("precision/baseline", "precision/baseline", False),
        ("distillation/distilled", "distillation/baseline", False),
        ("stack/fused-qkv", "stack/fp16", True),
        ("stack/hoisted", "stack/fp16", True),
        ("stack/attention-eager", "stack/fp16", False),
        ("stack/attention-math", "stack/fp16", False),
        ("stack/unipc-20", "stack/fp16", False),
        ("stack/deepcache-2", "stack/fp16", True),
    ],
)
def test_who_promises_the_same_computation(variant: str, reference: str, promised: bool) -> None:
    assert same_computation(BY_ID[variant], BY_ID[reference], CPU) is promised


def test_a_variant_that_states_no_quality_promises_the_same_computation() -> None:
    baseline = BY_ID["precision/baseline"]
    stated = Variant(name="mine", changes="Nothing.")
    assert stated.quality is None
    assert same_computation(stated, baseline, CPU)
    assert not same_computation(replace(stated, steps=8), baseline, CPU)
    assert not same_computation(replace(stated, no_slower_on=()), baseline, CPU)
