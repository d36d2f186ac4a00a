"""The faults that only a clock sees: every fault is caught for its reason."""

from __future__ import annotations

import pytest

from catalogue_run import faults_of, run_timed_catalogue

pytestmark = [pytest.mark.system, pytest.mark.timed]
RUN = "timed"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run_timed_catalogue(tmp_path_factory.mktemp("catalogue"))


@pytest.mark.parametrize("name", faults_of(RUN))
def test_a_fault_is_caught_for_its_reason(ran, name):
    ran.assert_caught(name)
