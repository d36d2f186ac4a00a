"""No alarm from the invariants that look inside a case, on any healthy variant a CPU can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import emulated
from invariant_cases import CPU, HEALTHY, opened_variant
from latentcy.gates.invariants.dtypes import dtype_verdict
from latentcy.gates.invariants.growth import growth_verdict
from latentcy.gates.invariants.leaks import Snapshot, leak_verdict
from latentcy.gates.invariants.operators import (
    Counters,
    count,
    operators_verdict,
    same_computation,
    syncs_verdict,
)
from latentcy.gates.invariants.schedule import schedule_verdict
from latentcy.gates.invariants.switches import switches_verdict
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.variants.variant import Variant

pytestmark = pytest.mark.system

# Each runs in a second or two; a kind of each is enough where the suite is to be quick.
KINDS = [
    each
    for each in HEALTHY
    if each.id
    in {
        "precision/baseline",
        "precision/bf16",
        "precision/autocast",
        "distillation/baseline",
        "distillation/distilled-tiny-vae",
        "stack/attention-eager",
        "stack/fused-qkv",
        "stack/host-scheduler",
        "stack/hoisted",
        "stack/dpm-karras-20",
        "stack/unipc-20",
        "stack/deepcache-3",
        "stack/vae-tiling",
    }
]


@pytest.fixture(scope="module")
def reference() -> Counters:
    """Of the plain pipeline with DDIM in fp32, which is the reference of most."""
    return count(opened_variant(HEALTHY[0]))


@pytest.fixture(scope="module")
def warm() -> None:
    """What the libraries set at their first model is there."""
    opened_variant(HEALTHY[0]).close()


@pytest.fixture(params=emulated.variants(KINDS))
def sampler(request: pytest.FixtureRequest) -> Iterator[Sampler]:
    opened = opened_variant(request.param)
    yield opened
    opened.close()


def test_no_gate_fires_on_a_healthy_case(warm: None, sampler: Sampler, reference: Counters) -> None:
    verdicts = [
        gate(sampler)
        for gate in (schedule_verdict, dtype_verdict, switches_verdict, growth_verdict)
    ]
    assert {one.status for one in verdicts} == {"passed"}, verdicts
    counters = count(sampler)
    promised = same_computation(sampler.variant, HEALTHY[0], CPU)
    held = (
        syncs_verdict(counters, reference=reference),
        operators_verdict(counters, reference=reference, same_computation=promised),
    )
    assert "failed" not in {one.status for one in held}, held


@pytest.mark.parametrize("variant", emulated.variants(KINDS[:4]))
def test_a_healthy_case_leaves_nothing_behind(warm: None, variant: Variant) -> None:
    before = Snapshot.take()
    opened = opened_variant(variant)
    opened.generate()
    opened.close()
    verdict = leak_verdict(before, Snapshot.take())
    assert verdict.status == "passed", verdict.reason
