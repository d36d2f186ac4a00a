"""A run's own end mark: what is on disk before it has come to its end, and after."""

from __future__ import annotations

import pytest

from latentcy.core.settings import Settings
from latentcy.store.results import read_run
from latentcy.suite.run import NO_END, Run
from tiny import build_tiny


@pytest.fixture
def run(tmp_path):
    folder = build_tiny(tmp_path / "tiny")
    settings = Settings(model=str(folder), device="cpu", results=tmp_path / "results")
    opened = Run(settings)
    yield opened
    opened.close()


def test_a_run_that_was_killed_passes_for_no_whole_one(run):
    run.recorder.update(run.cases[0], seconds=1.0)
    assert read_run(run.results.folder).interrupted == NO_END


def test_a_run_that_came_to_its_end_says_so(run):
    run.recorder.update(run.cases[0], seconds=1.0)
    run.finish()
    assert read_run(run.results.folder).interrupted == ""


def test_a_run_that_was_cut_off_says_how_far_it_came(run):
    run.recorder.update(run.cases[0], seconds=1.0)
    run.finish("1 of 7 cases were judged")
    assert read_run(run.results.folder).interrupted == "1 of 7 cases were judged"


def test_real_models_are_not_planned_unless_minutes_are_asked_for(run, tmp_path):
    assert not run.time.limited
    planned = Settings(model=run.settings.model, device="cpu", results=tmp_path / "r", minutes=2)
    other = Run(planned)
    assert other.time.limited
    other.close()
