"""The tolerances: the table in code is what the stored measurements derive, and how."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from latentcy.core.errors import LatentcyError
from latentcy.core.metrics import BY_NAME
from latentcy.gates.tolerances import (
    CLOSE,
    COARSE,
    LOOSE,
    NEAR,
    ONE,
    OTHER,
    bounds,
    kind_of,
)
from latentcy.measure.images.profile import read
from latentcy.pipelines.variants import EVERY, Quality, Tolerance
from latentcy.stats.noninferiority import paired
from latentcy.studies.tolerances.__main__ import main, read_file, report
from latentcy.studies.tolerances.derive import (
    KINDS,
    LEAST,
    OF_MEAN,
    OF_ONE,
    PIXELWISE,
    WIDER,
    derive,
    seen,
)
from latentcy.studies.tolerances.healthy import CHANGES, SETS

DOCS = Path(__file__).parents[1] / "docs"
STORED = DOCS / "tolerances.json"
NAMES = {limit.removesuffix(ONE) for limit in LEAST}


@pytest.fixture(scope="module")
def changes():
    return read_file(STORED)["changes"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_in_code_is_what_the_stored_measurements_derive(changes, kind):
    in_code = {limit: tolerance.value for limit, tolerance in bounds(kind).items()}
    assert in_code == {limit: value for limit, (value, _) in derive(changes)[kind].items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_tolerance_says_where_it_was_derived_from(changes, kind):
    derived = derive(changes)[kind]
    for limit, tolerance in bounds(kind).items():
        assert "docs/tolerances.md" in tolerance.reason
        assert ("the least width" in tolerance.reason) == (derived[limit][1] == "least")


def test_the_documents_tables_are_those_of_the_stored_measurements(changes):
    assert report(changes) in (DOCS / "tolerances.md").read_text(encoding="utf-8")


def test_every_healthy_change_was_measured(changes):
    assert {change["change"] for change in changes} == {change.says for change in (*CHANGES, *SETS)}


def test_healthy_changes_stay_well_inside_their_tolerances(changes):
    for change in changes:
        limits = bounds(change["kind"])
        for name, readings in change["seen"].items():
            if name in limits and "mean" in readings:
                assert 2 * readings["mean"] <= limits[name].value, (change["change"], name)
                assert readings["bound"] <= limits[name].value, (change["change"], name)
            if name + ONE in limits:
                assert 2 * readings["one"] <= limits[name + ONE].value, (change["change"], name)


def test_the_kinds_widen_from_near_to_coarse():
    for limit in bounds(NEAR):
        values = [bounds(kind)[limit].value for kind in (NEAR, CLOSE, LOOSE, COARSE)
                  if limit in bounds(kind)]  # fmt: skip
        assert len(values) >= 3 and values[0] == min(values), limit


def test_every_limit_is_of_a_metric_and_in_its_range():
    for kind in KINDS:
        for limit, tolerance in bounds(kind).items():
            metric = BY_NAME[limit.removesuffix(ONE)]
            assert 0 < tolerance.value < metric.high - metric.low


def test_other_weights_are_held_to_nothing_pixel_by_pixel():
    assert not any(limit.endswith(ONE) or limit in PIXELWISE for limit in bounds(OTHER))
    assert {"brightness", "sharpness", "KID"} <= set(bounds(OTHER))


@pytest.mark.parametrize(
    ("floor", "kind"),
    [(0.99, NEAR), (0.98, NEAR), (0.95, CLOSE), (0.9, LOOSE), (0.8, COARSE), (0.1, COARSE)],
)
def test_the_promised_ssim_makes_the_kind(floor, kind):
    assert kind_of(Quality(ssim=Tolerance(floor, ""))) == kind


def test_other_weights_promise_no_ssim_and_a_baseline_promises_nothing():
    assert kind_of(Quality(clip_drop=Tolerance(0.15, ""))) == OTHER
    assert kind_of(Quality()) is None


def test_every_builtin_variant_has_a_kind_unless_it_is_a_baseline():
    for variant in EVERY:
        assert (kind_of(variant.quality) is None) == (variant.name == "baseline"), variant.id


def test_an_unknown_kind_is_no_kind():
    with pytest.raises(KeyError):
        bounds("nearly")


def measured(kind=NEAR, **lost):
    """Healthy changes of every kind that lost nothing, and one that lost `lost` of a metric."""
    readings = {"mean": 0.0, "bound": 0.0, "one": 0.0, "set": 0.0}
    nothing = [
        {"kind": each, "change": "c", "seen": {name: readings for name in NAMES}} for each in KINDS
    ]
    name = lost.pop("name", "brightness")
    return [*nothing, {"kind": kind, "change": "c", "seen": {name: readings | lost}}]


def test_where_little_was_seen_the_least_width_is_the_tolerance():
    table = derive(measured())
    assert table[NEAR]["brightness"] == (LEAST["brightness"], "least")
    assert table[CLOSE]["brightness"][0] == LEAST["brightness"] * WIDER[CLOSE]


def test_a_tolerance_is_a_multiple_of_the_worst_that_was_seen():
    table = derive(measured(mean=0.1, bound=0.12, one=0.3))
    assert table[NEAR]["brightness"] == (pytest.approx(0.1 * OF_MEAN), "seen")
    assert table[NEAR]["brightness" + ONE] == (pytest.approx(0.3 * OF_ONE), "seen")
    assert table[LOOSE]["brightness"][1] == "least"


def test_a_tolerance_is_rounded_up_to_two_digits():
    assert derive(measured(mean=0.0404, bound=0))[NEAR]["brightness"][0] == 0.11


def test_a_limit_that_would_let_anything_through_is_none():
    table = derive(measured(COARSE, name="local SSIM", one=0.6))
    assert "local SSIM" + ONE not in table[COARSE] and "local SSIM" + ONE in table[LOOSE]


def pictures(moved=0.0, count=16):
    images = np.random.default_rng(0).uniform(0.2, 0.8, (count, 32, 32, 3))
    return read((images + moved).astype(np.float32))


def test_what_is_seen_is_the_worst_over_subsets():
    moved = np.zeros((16, 1, 1, 3))
    moved[8:] = -0.02
    moved[3] = 0.01
    readings = seen(pictures(moved), pictures())["brightness"]
    assert readings["mean"] == pytest.approx(0.02, rel=1e-3)
    assert readings["one"] == pytest.approx(0.02, rel=1e-3)
    whole = paired([0.01 * (index == 3) - 0.02 * (index >= 8) for index in range(16)])
    assert readings["bound"] == pytest.approx(-whole.low, rel=1e-3)


def test_a_gain_is_no_loss():
    readings = seen(pictures(), pictures())
    assert all(value == pytest.approx(0, abs=1e-12)
               for each in readings.values() for value in each.values())  # fmt: skip


def test_few_images_or_broken_ones_derive_nothing():
    with pytest.raises(ValueError, match="15 images are fewer than 16"):
        seen(pictures(count=15), pictures(count=15))
    broken = np.zeros((16, 1, 1, 3))
    broken[2] = math.nan
    with pytest.raises(ValueError, match="not healthy"):
        seen(pictures(broken), pictures())


def test_the_command_prints_the_stored_tables(capsys):
    assert main([str(STORED), "--table"]) == 0
    assert capsys.readouterr().out.startswith("| allowed loss | near | close |")


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 0}', "[]", '{"schema": 1}'])
def test_a_damaged_file_is_said_and_not_read(tmp_path, capsys, text):
    (tmp_path / "t.json").write_text(text)
    assert main([str(tmp_path / "t.json"), "--table"]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_a_file_with_a_nan_is_refused(tmp_path):
    data = read_file(STORED)
    data["changes"][0]["seen"]["SSIM"]["mean"] = math.nan
    (tmp_path / "t.json").write_text(json.dumps(data))
    with pytest.raises(LatentcyError, match="is no loss"):
        read_file(tmp_path / "t.json")


def test_an_interrupted_derivation_names_what_it_lacks(tmp_path, capsys):
    data = read_file(STORED)
    lost = data["changes"].pop()["change"]
    (tmp_path / "t.json").write_text(json.dumps(data))
    assert main([str(tmp_path / "t.json"), "--table"]) == 2
    assert f"lacks {lost}" in capsys.readouterr().err


def test_measurements_of_other_versions_are_not_mixed(tmp_path, capsys):
    data = read_file(STORED)
    data["versions"]["torch"] = "1.0"
    (tmp_path / "t.json").write_text(json.dumps(data))
    assert main([str(tmp_path / "t.json")]) == 2
    assert "was measured with versions" in capsys.readouterr().err
