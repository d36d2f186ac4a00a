"""The gates: what is promised, planned, injected, shown and documented is one and the same list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from latentcy.fixtures.collection import LAST_TESTS

from latentcy.core.gates import BY_PROMISE, GATES, IMAGES, LOOKING, TIMING
from latentcy.faults.catalogue import FAULTS
from latentcy.report.html.image_differences import SEEN
from latentcy.suite.injection import COSTLY, NEVER
from latentcy.suite.run_plan import GATE_DRAWS

ROOT = Path(__file__).resolve().parents[1]
NAMES = [gate.name for gate in GATES]
# Tests of perf_tests/ that judge no case by a gate: the positive control, and published claims.
OTHERS = {"test_an_overflow_would_be_seen", "test_claim"}


def promises() -> dict[str, str]:
    """Each test function of perf_tests/, and its body."""
    found = {}
    for file in sorted((ROOT / "perf_tests").glob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = ast.get_source_segment(text, node) or ""
    return found


def test_each_gate_has_one_promise_and_each_promise_one_gate():
    assert len(set(NAMES)) == len(NAMES) == len(BY_PROMISE)
    assert set(promises()) - OTHERS == set(BY_PROMISE)


@pytest.mark.parametrize("gate", GATES, ids=NAMES)
def test_a_promise_that_names_a_gate_names_its_own(gate):
    named = re.findall(r'run\.\w+\.\w+\(case, "([^"]+)"\)', promises()[gate.promise])
    assert named in ([], [gate.name])


@pytest.mark.parametrize("gate", GATES, ids=NAMES)
def test_the_readme_says_what_each_gate_promises(gate):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("## What is promised")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")]
    assert any(re.search(rf"\b{re.escape(gate.name)}\b", row) for row in rows), gate.name


def test_every_kind_of_gate_is_planned_injected_and_shown():
    assert {gate.phase for gate in GATES} == {IMAGES, TIMING, LOOKING}
    assert set(GATE_DRAWS) < set(NAMES) and "black images" not in GATE_DRAWS
    assert set(COSTLY) < set(BY_PROMISE) and not set(COSTLY) & set(NEVER)
    assert "test_ssim" not in COSTLY and COSTLY["test_memory"] == ("memory",)
    assert {"SSIM", "batch"} <= SEEN and not {"speed", "syncs"} & SEEN
    assert LAST_TESTS == ("test_speed", "test_nothing_is_left_behind", "test_claim")


def test_every_gate_that_can_be_injected_has_a_fault_that_it_must_report():
    asked = {name for fault in FAULTS for name in fault.gates}
    assert asked == {gate.name for gate in GATES if gate.is_injected} - NOT_IN_THE_CATALOGUE


# Both need more than a fault on the miniature: 500 images, and images stored before the fault.
NOT_IN_THE_CATALOGUE = {"distribution", "stored images"}
