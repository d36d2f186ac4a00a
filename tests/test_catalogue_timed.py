"""The faults that only a clock sees: every fault is caught for its reason."""

from __future__ import annotations

import pytest

from catalogue_run import faults_of, run_catalogue

pytestmark = [pytest.mark.system, pytest.mark.timed]
RUN = "timed"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run_catalogue(tmp_path_factory.mktemp("catalogue"), RUN)


@pytest.mark.parametrize("name", faults_of(RUN))
def test_a_fault_is_caught_for_its_reason(ran, name):
    ran.assert_caught(name)


def test_the_run_fails_and_ends_with_its_table(ran):
    ran.assert_ends_with_its_table()
