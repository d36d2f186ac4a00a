"""Costs: the arithmetic, and a table that stays readable."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from latentcy.core.costs import Calls, Component, Costs, Flops, Memory, PeakFlops, share
from latentcy.core.record import _to_json
from latentcy.report.costs_table import components_table, costs_table

COSTS = Costs(
    calls=Calls(load_seconds=12.3, first_seconds=60.5, warm_seconds=0.5),
    stages={"text_encoding": 0.01, "denoising": 0.4, "decoding": 0.02},
    flops=Flops(13_000_000_000, 1.6e12, 2_515_000_000_000, 50, ("decoding: from elsewhere",)),
    peak=PeakFlops("float16", False, 8e14, 8192),
    memory=Memory(3 * 2**30, 4 * 2**30, 2 * 2**30, 4 * 2**30, 2**30),
    components=(Component("unet", 859_520_964, 1_719_041_928, ("float16",)),),
)
UNKNOWN = replace(
    COSTS,
    calls=Calls(math.nan, math.inf, None),
    stages={"text_encoding": math.nan, "denoising": 0.0},
    peak=PeakFlops("float16", False, None),
    memory=Memory(),
)


def test_compilation_is_the_first_call_less_the_warm_one() -> None:
    assert COSTS.calls.compile_seconds == 60.0


def test_compilation_is_never_below_nothing() -> None:
    assert Calls(1.0, 0.4, 0.5).compile_seconds == 0.0


@pytest.mark.parametrize("first", [None, math.nan, math.inf])
def test_compilation_is_not_known_where_a_call_is_not(first: float | None) -> None:
    assert Calls(1.0, first, 0.5).compile_seconds is None


def test_a_stages_share_is_its_operations_over_its_seconds_and_the_peak() -> None:
    assert COSTS.share("denoising") == pytest.approx(50 * 1.6e12 / 0.4 / 8e14)
    assert COSTS.share("decoding") == pytest.approx(2.515e12 / 0.02 / 8e14)


def test_the_whole_share_is_over_all_stages_together() -> None:
    work = 13e9 + 50 * 1.6e12 + 2.515e12
    assert COSTS.total_share == pytest.approx(work / 0.43 / 8e14)


def test_a_steps_seconds_are_of_one_call_of_the_unet() -> None:
    assert COSTS.step_seconds == pytest.approx(0.4 / 50)


@pytest.mark.parametrize(
    ("flops", "seconds", "peak"),
    [(None, 1, 1), (1, None, 1), (1, 1, None), (1, 0, 1), (1, 1, 0), (1, math.nan, 1)],
)
def test_a_share_without_its_figures_is_not_known(
    flops: float | None, seconds: float | None, peak: float | None
) -> None:
    assert share(flops, seconds, PeakFlops("float32", False, peak)) is None


def test_no_share_is_more_than_the_whole() -> None:
    peak = PeakFlops("float16", False, 1e9)
    assert share(1e9, 1.0, peak) == 1.0
    assert share(1.71e9, 1.0, peak) is None  # done in another arithmetic than the peak's


def test_operations_that_are_not_known_make_no_total() -> None:
    assert Flops(1, None, 2, 50).total is None
    assert Flops(1, 1.0, 2, None).total is None


@pytest.mark.parametrize("costs", [COSTS, Costs()])
def test_costs_come_back_from_json_as_they_went(costs: Costs) -> None:
    assert Costs.from_dict(json.loads(json.dumps(_to_json(costs)))) == costs


def test_numbers_that_json_lacks_come_back_too() -> None:
    back = Costs.from_dict(json.loads(json.dumps(_to_json(UNKNOWN))))
    assert math.isnan(back.calls.load_seconds) and math.isinf(back.calls.first_seconds)
    assert math.isnan(back.stages["text_encoding"])


def test_damaged_costs_raise() -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Costs.from_dict({"calls": {}})


def test_the_table_shows_the_figures() -> None:
    text = costs_table({"precision/fp16": COSTS})
    row = next(line for line in text.splitlines() if line.startswith("precision/fp16"))
    seconds = ("12.300 s", "60.500 s", "60.000 s", "0.500 s", "10.0 ms", "8.00 ms", "20.0 ms")
    assert row.split()[1:] == " ".join(seconds).split()
    for figure in ("82528", "800000", "24.0%", "0.2%", "25.0%", "15.7%", "859.52 M", "3072 MiB"):
        assert figure in text
    assert "precision/fp16: decoding: from elsewhere" in text
    assert "~" not in text


def test_what_is_not_known_is_a_dash() -> None:
    rows = [line for line in costs_table({"x": Costs()}).splitlines() if line.startswith("x ")]
    assert len(rows) == 3
    assert all(set(row.split()[1:]) == {"-"} for row in rows)
    text = costs_table({"x": UNKNOWN}).lower()
    assert "nan" not in text and "inf" not in text


def test_no_line_is_wider_than_a_hundred_columns() -> None:
    huge = replace(
        COSTS,
        calls=Calls(1e7, 1e7, 1e-9),
        flops=Flops(10**18, 1e18, 10**18, 1000, ("a note that goes on " * 20,)),
        peak=PeakFlops("float16", False, 1e18),
        memory=Memory(10**15, 10**15, 10**15, 10**15, 10**15),
    )
    part = Component("a" * 80, 10**12, 10**15, ("float8_e4m3fn",) * 9)
    text = costs_table({"group/" + "v" * 60: huge}) + "\n" + components_table([part])
    assert max(len(line) for line in text.splitlines()) <= 100


def test_no_case_makes_no_table() -> None:
    assert costs_table({}) == ""


def test_components_are_added_up() -> None:
    text = components_table([*COSTS.components, Component("vae decoder", 10**6, 2**21, ("x",))])
    assert text.splitlines()[-1].split() == ["all", "860.52", "M", "1641", "MiB"]


def test_the_table_is_drawn_without_torch() -> None:
    code = "import sys, latentcy.report.costs_table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
