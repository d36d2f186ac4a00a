"""Where a run goes: everything that was asked for is there and right, and no outlet costs a run."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from latentcy.__main__ import main
from latentcy.core.run_info import CHECKOUT, about_now
from latentcy.store.history.store import History
from latentcy.store.results import Results, read_run
from latentcy.suite import outputs as outlets
from latentcy.suite.outputs import Outputs, write_outputs
from report_run import record, write_images, write_run
from tiny import build_tiny
from whole_run import assert_message, assert_no_traceback, benchmark_process

BADLY = (
    "from latentcy import Variant\n"
    "def prepare(pipeline):\n"
    "    decode = pipeline.vae.decode\n"
    "    pipeline.vae.decode = lambda *a, **k: tuple(0 * one - 1 for one in decode(*a, **k))\n"
    "SHORT = {'reference': 'good', 'ssim_reference': 'good', 'steps': 2}\n"
    "VARIANTS = [Variant('good', 'Two steps.', **SHORT),\n"
    "            Variant('black', 'Paints black.', prepare=prepare, **SHORT)]\n"
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A few quick tests of a good case and of one that paints black."""
    folder = tmp_path_factory.mktemp("asked")
    tiny = build_tiny(folder / "tiny")
    (folder / "mine.py").write_text(BADLY)
    given = (f"--model={tiny}", f"--variants={folder / 'mine.py'}", "--only=good,black")
    return (*given, "--images=2", "--pairs=0", "--rounds=3", "-k", "latency or black or ssim")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, asked):
    """A run with every outlet."""
    folder = tmp_path_factory.mktemp("whole")
    places = {
        "report": "report",
        "history": "history.db",
        "summary": "summary.md",
        "smaller-is-better": "smaller.json",
        "bencher": "bencher.json",
        "junitxml": "junit.xml",
    }
    options = [f"--{name}={folder / place}" for name, place in places.items()]
    return benchmark_process(folder, *asked, *options), folder


@pytest.mark.system
def test_every_outlet_holds_the_run_s_own_figures(whole):
    outcome, folder = whole
    assert outcome.status == 1, outcome.text
    records = {one.case: one for one in read_run(outcome.results).records}
    good = next(one for one in records.values() if one.variant == "good")

    (first, *_) = json.loads((folder / "smaller.json").read_text())
    assert first["name"] == f"{good.case} latency" and first["value"] == good.seconds
    bencher = json.loads((folder / "bencher.json").read_text())
    assert bencher[good.case]["latency"]["value"] == good.seconds
    with History(folder / "history.db", must_exist=True) as history:
        (run,) = history.runs()
        assert run.run.id == read_run(outcome.results).about.id
        assert history.series(good.case, "latency").points[0].value == good.seconds
    page = (folder / "report" / "report.html").read_text()
    assert 'id="trend"' in page and "precision/<wbr>black" in page


@pytest.mark.system
def test_junit_carries_the_numbers_and_the_reason(whole):
    outcome, folder = whole
    found = {
        one.get("name"): one for one in ElementTree.parse(folder / "junit.xml").iter("testcase")
    }
    passed = found["test_latency[precision-good]"]
    numbers = {one.get("name"): one.get("value") for one in passed.iter("property")}
    good = next(one for one in read_run(outcome.results).records if one.variant == "good")
    assert float(numbers["latency (seconds)"]) == good.seconds
    bad = found["test_no_image_is_black[precision-black]"].find("failure")
    assert "black images failed" in bad.get("message")


@pytest.mark.system
def test_the_end_says_why_where_and_how_to_run_it_again_in_100_columns(whole):
    outcome, folder = whole
    assert "\x1b" not in outcome.text
    closing_lines = (
        outcome.text.split("= latentcy =")[1].split("short test summary")[0].splitlines()
    )
    free = ("To run ", "Report: ", "History: ", "Summary: ", "Charts: ", "Bencher: ", "Images: ")
    assert not [one for one in closing_lines if len(one) > 100 and not one.startswith(free)]
    assert "To run black again: pytest --benchmark --latentcy-case=precision/black" in outcome.text
    assert f"History: recorded in {folder / 'history.db'}" in outcome.text
    summary = (folder / "summary.md").read_text()
    assert summary.splitlines()[2].startswith("FAILED") and "**black images**" in summary


@pytest.mark.system
def test_each_case_and_the_time_left_are_told_as_it_begins(whole):
    text = whole[0].text
    assert "  Case 1 of 2: precision/good\n" in text
    assert "  Case 2 of 2: precision/black; " in text and " left\n" in text


@pytest.mark.system
def test_outlets_that_fail_cost_nothing_that_was_measured(tmp_path, asked):
    wall = tmp_path / "a-file"
    wall.write_text("no folder")
    newer = tmp_path / "newer.db"
    History(newer).close()
    with closing(sqlite3.connect(newer)) as database:
        database.execute("UPDATE latentcy_schema SET version = 99")
        database.commit()
    outcome = benchmark_process(
        tmp_path,
        *asked,
        "--case=precision/good",
        f"--history={newer}",
        *(f"--{one}={wall / one}" for one in ("report", "summary", "smaller-is-better", "bencher")),
    )
    assert outcome.status == 1
    assert_message(outcome, "a history of schema 99", "update latentcy")
    for one in ("report", "summary", "smaller-is-better", "bencher"):
        assert f"{wall / one}" in outcome.text
    assert_no_traceback(outcome)
    assert "PASSED: 1 of 1 variants" in outcome.text
    assert read_run(outcome.results).records[0].seconds


@pytest.mark.system
def test_a_run_without_a_case_hands_on_nothing_and_never_an_earlier_run(tmp_path, asked):
    write_run(tmp_path / "results", [record(0)])
    options = (*asked[:-1], "nothing-of-that-name", f"--summary={tmp_path / 'summary.md'}")
    outcome = benchmark_process(tmp_path, *options)
    assert "No case was measured, so there is nothing to hand on." in outcome.text
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.system
def test_a_case_in_a_process_of_its_own_is_recorded_once_by_its_run(tmp_path, asked, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    outcome = benchmark_process(
        tmp_path, *asked[:-2], "--isolate", f"--history={tmp_path / 'history.db'}"
    )
    assert_no_traceback(outcome)
    with History(tmp_path / "history.db", must_exist=True) as history:
        assert len(history.runs()) == 1
    assert (tmp_path / "summary.md").read_text().count("## Latentcy") == 1


def test_a_history_that_cannot_be_used_leaves_the_rest_and_says_how_to_import(tmp_path):
    run = write_run(tmp_path / "results", [record(0)])
    wanted = Outputs(history=str(run), summary=tmp_path / "summary.md")  # that file is no database
    history, summary = write_outputs(tmp_path / "results", wanted)
    assert history.failed and f"python -m latentcy history import {run} --history" in history.line
    assert not summary.failed and (tmp_path / "summary.md").exists()


def test_a_fault_of_ours_costs_its_outlet_alone(tmp_path, monkeypatch):
    write_run(tmp_path / "results", [record(0)])
    monkeypatch.setattr(outlets, "summary", lambda run: 1 / 0)
    wanted = Outputs(summary=tmp_path / "summary.md", bencher=tmp_path / "bencher.json")
    summary, bencher = write_outputs(tmp_path / "results", wanted)
    assert summary.failed and "ZeroDivisionError" in summary.line and "on disk" in summary.line
    assert not bencher.failed and json.loads((tmp_path / "bencher.json").read_text())


def test_a_stored_run_s_page_shows_the_trend_of_a_history(tmp_path, capsys):
    run = write_run(tmp_path, [record(0)])
    history = str(tmp_path / "history.db")
    assert main(["history", "import", str(run), "--history", history]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "page"), "--history", history]) == 0
    assert 'id="trend"' in (tmp_path / "page" / "report.html").read_text()
    assert main(["report", str(run), "--history", str(tmp_path / "none.db")]) == 2
    assert "no history at" in capsys.readouterr().err


def test_a_merged_run_keeps_prompts_images_and_has_an_identity_of_its_own(tmp_path):
    for index in range(2):
        shard = tmp_path / f"shard{index}"
        write_run(shard, [record(index)], prompts=["a"], id=f"id{index}")
        write_images(shard, f"precision-{record(index).variant}", 1)
    shards = [str(tmp_path / f"shard{index}") for index in range(2)]
    main(["merge", *shards, "--out", str(tmp_path / "out")])
    main(["merge", *reversed(shards), "--out", str(tmp_path / "again")])
    about = read_run(tmp_path / "out").about
    assert about.prompts == ("a",) and about.id not in ("id0", "id1")
    assert about.id == read_run(tmp_path / "again").about.id
    assert len(list((tmp_path / "out" / "images").glob("*/000.png"))) == 2


def test_a_run_knows_the_checkout_and_branch_under_test_and_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv(CHECKOUT, str(Path(__file__).parents[1]))
    address = "--history=postgresql://ci:secret@db/latentcy"
    about = about_now(tmp_path, command=[address])
    assert about.commit and len(about.commit) == 40
    assert about.command == ("--history=postgresql://ci:***@db/latentcy",)
    monkeypatch.setenv(CHECKOUT, str(tmp_path))
    assert about_now(Path()).commit is None


def test_large_images_are_kept_small_as_well_and_no_stale_ones_are_shown(tmp_path):
    import numpy as np

    from latentcy.report.html.image_sheets import read_tiles
    from latentcy.store.thumbnails import NAME

    images = np.linspace(0, 1, 3 * 256 * 256 * 3).reshape(3, 256, 256, 3)
    Results(tmp_path).keep_images("precision-fp16", images)
    place = tmp_path / "images" / "precision-fp16"
    opened = read_tiles(tmp_path / "images", ["precision-fp16"])["precision-fp16"]
    assert [one.size for one in opened.small] == [(128, 128)] * 3

    (place / "001.png").unlink()
    assert (
        read_tiles(tmp_path / "images", ["precision-fp16"])["precision-fp16"].whys[1] == "missing"
    )
    (place / "002.png").write_bytes(b"damaged")
    os.utime(place / "002.png", ns=(0, (place / NAME).stat().st_mtime_ns + 1))
    whys = read_tiles(tmp_path / "images", ["precision-fp16"])["precision-fp16"].whys
    assert whys[0] == "" and whys[2].startswith("damaged")


def test_a_failure_is_shown_beside_a_reference_that_has_no_record(tmp_path):
    bad = record(2, failed=True, image_reference="healthy")
    run = write_run(tmp_path, [bad], prompts=["a"])
    write_images(tmp_path, f"{bad.group}-{bad.variant}", 1, moved=4)
    write_images(tmp_path, f"{bad.group}-healthy", 1)
    assert main(["report", str(run)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "of 255 in the mean" in page and "No images of its reference" not in page
