"""One half of the fault catalogue: every fault is caught for its reason."""

from __future__ import annotations

import pytest

from catalogue_run import controls_of, faults_of, run_catalogue

pytestmark = pytest.mark.system
RUN = "one half"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run_catalogue(tmp_path_factory.mktemp("catalogue"), RUN)


@pytest.mark.parametrize("name", faults_of(RUN))
def test_a_fault_is_caught_for_its_reason(ran, name):
    ran.assert_caught(name)


@pytest.mark.parametrize("name", controls_of(RUN))
def test_no_gate_fails_on_a_healthy_variant(ran, name):
    assert ran.found[name].sound, ran.found[name].reason


def test_the_run_fails_and_ends_with_its_table(ran):
    ran.assert_ends_with_its_table()
