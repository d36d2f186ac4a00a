"""The fault catalogue: every fault is caught for its reason, and no healthy variant is."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from catalogue_run import RUNS
from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.verdict import Verdict
from latentcy.faults.catalogue import FAULTS, HEALTHY, VARIANTS
from latentcy.faults.fault import GATES
from latentcy.pipelines.variants import load_variants
from latentcy.report.fault_table import (
    CAUGHT,
    MISSED,
    NOT_RUN,
    WRONG,
    Expected,
    catch_table,
    markdown,
    outcomes,
)
from latentcy.suite.injection import CATALOGUE, injection, listing
from whole_run import ROOT

NAMES = [fault.name for fault in FAULTS]
SOUND = [variant.name for variant in HEALTHY]
MINIATURE = ("--model=miniature", "--threads=1")


def test_every_fault_of_the_catalogue_is_run_here():
    run = [name for names in RUNS.values() for name in names]
    assert set(NAMES) <= set(run) and len(run) == len(set(run))


def test_the_documented_table_is_of_a_run_in_which_every_fault_was_caught():
    rows = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
    for fault in FAULTS:
        (row,) = (line for line in rows if line.startswith(f"| `{fault.name}` |"))
        assert fault.source in row
        caught_by, missed = (cell.strip() for cell in row.split("|")[5:7])
        assert set(fault.gates) & set(caught_by.split(", ")), row
        assert not missed, row


def test_there_are_at_least_forty_faults_of_every_kind():
    by_category: dict[str, int] = {}
    for fault in FAULTS:
        by_category[fault.category] = by_category.get(fault.category, 0) + 1
    assert len(FAULTS) >= 40
    assert len(set(NAMES)) == len(NAMES)
    assert len(by_category) == 9
    assert min(by_category.values()) >= 8


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_a_fault_says_what_it_is_and_who_must_report_it(fault):
    assert re.fullmatch(r"[a-z0-9-]+", fault.name)
    assert fault.what.endswith(".") and fault.source
    assert fault.gates and set(fault.gates) <= set(GATES)
    assert fault.says and not re.search(fault.says, "")
    assert fault.variant.id == f"precision/{fault.name}"


@pytest.mark.system
def test_the_catalogue_is_a_variants_file_that_any_process_can_load(tmp_path):
    assert [one.id for one in load_variants(CATALOGUE)] == [one.id for one in VARIANTS]
    script = (
        "from latentcy.pipelines.variants import load_variants\n"
        f"print(len(load_variants({str(CATALOGUE)!r})))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == str(len(VARIANTS)), ran.stderr


def test_inject_takes_names_all_and_healthy():
    assert injection("") is None
    assert list(injection("blurred, seam").expected) == ["blurred", "seam"]
    assert list(injection("all").expected) == NAMES
    assert list(injection("healthy").expected) == SOUND


def test_no_name_of_the_catalogue_stands_for_several():
    assert not {"all", "healthy", "?"} & {*NAMES, *SOUND}


def test_inject_refuses_an_unknown_name_and_says_the_near_ones():
    with pytest.raises(LatentcyError) as refused:
        injection("blured")
    assert "blured" in refused.value.found
    assert "blurred" in refused.value.do


def test_the_listing_names_every_fault_and_its_source():
    text = listing()
    for fault in FAULTS:
        assert f"  {fault.name} " in text
        assert fault.source in text


def test_pairs_are_timed_only_where_a_fault_is_one_of_speed():
    assert injection("blurred").settings["pairs"] == 0
    assert injection("half-speed").settings["pairs"] is None  # until it is known
    every = injection("all")
    assert every.timed == {fault.name for fault in FAULTS if fault.timed}


@pytest.mark.parametrize(
    ("name", "test", "ran"),
    [
        ("blurred", "test_ssim", True),
        ("blurred", "test_latency", False),
        ("blurred", "test_nothing_grows", False),
        ("half-speed", "test_latency", True),
        ("half-speed", "test_speed", True),
        ("memory-growing", "test_nothing_grows", True),
        ("default-dtype", "test_ssim", False),
        ("default-dtype", "test_in_its_own_process", True),
        ("blurred", "test_in_its_own_process", False),
        ("blurred", "test_claim", False),
        ("sound-again", "test_nothing_grows", True),
    ],
)
def test_of_many_faults_each_gets_the_tests_that_can_catch_it(name, test, ran):
    given = injection("all,healthy")
    assert given.runs(test, _case(name), alone=False) is ran


def test_a_fault_alone_gets_every_test_and_stays_in_this_process():
    given = injection("default-dtype")
    assert given.runs("test_nothing_grows", _case("default-dtype"), alone=False)
    assert not given.runs("test_in_its_own_process", _case("default-dtype"), alone=False)
    assert not given.runs("test_ssim", _case("sound"), alone=False)


def test_the_catch_table_tells_caught_from_missed_and_from_the_wrong_reason():
    expected = [
        Expected("one", "a/b#1", ("tone",), "dark", "Dark.", "tone"),
        Expected("two", "a/b#2", ("tone",), "dark", "Dark too.", "tone"),
        Expected("three", "a/b#3", ("tone", "SSIM"), "dark|SSIM", "Dark three.", "tone"),
        Expected("four", "a/b#4", ("tone",), "dark", "Never run.", "tone"),
        Expected("fine"),
    ]
    records = [
        _record("one", ("tone", "failed", "brightness is darker by 0.1")),
        _record("two", ("tone", "passed", "as before"), ("CLIP", "failed", "lower by 20")),
        _record("three", ("tone", "passed", "as before"), ("SSIM", "inconclusive", "SSIM ?")),
        _record("fine", ("tone", "passed", "as before")),
    ]
    found = outcomes(records, expected)
    assert [one.status for one in found[:4]] == [CAUGHT, WRONG, MISSED, NOT_RUN]
    assert found[1].reason == "CLIP: lower by 20"
    assert found[4].sound
    text = catch_table(found)
    assert "1 of 4 faults caught" in text
    assert "MISSED: three" in text
    assert "no gate failed in 1 of 1 healthy controls" in text
    assert max(map(len, text.splitlines()[:-1])) <= 100
    rows = markdown(found[:4]).splitlines()
    assert "| `one` | Dark. | a/b#1 | tone | tone |  |" in rows
    assert "| `three` | Dark three. | a/b#3 | tone or SSIM | - | MISSED |" in rows


def test_a_reason_that_says_something_else_is_no_catch():
    expected = [Expected("one", "a/b#1", ("tone",), "dark", "Dark.", "tone")]
    records = [_record("one", ("tone", "failed", "saturation is lower by 0.2"))]
    assert outcomes(records, expected)[0].status == WRONG


def _record(name, *verdicts):
    return Record(
        case=f"miniature/precision/{name}",
        model="miniature",
        group="precision",
        variant=name,
        changes="",
        device="cpu",
        verdicts=tuple(Verdict(*one) for one in verdicts),
    )


class _case:  # what `Injection.runs` looks at of a case
    def __init__(self, name):
        self.variant = next(one for one in VARIANTS if one.name == name)
