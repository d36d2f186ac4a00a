"""Baselines: the published rows are the document's, stored ones are whole, alike, or refused."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from latentcy.errors import LatentcyError
from latentcy.judge.baselines import (
    StoredBaseline,
    baseline_path,
    differences,
    fingerprint,
    published,
    read_baseline,
    write_baseline,
)

BASELINE = StoredBaseline(
    case="miniature/precision/fp16",
    fingerprint={"device": "some-cpu", "model": "miniature"},
    seconds=0.5,
    rounds=(0.4, 0.5, 0.6),
    peak_bytes=123456,
    recorded="2025-01-01",
)


@pytest.mark.parametrize(
    ("model", "group", "variant", "seconds", "speedup"),
    [
        ("sd15", "precision", "baseline", 5.27, 1.0),
        ("sd15", "precision", "tf32", 4.14, 1.27),
        ("sd15", "precision", "fp16", 3.51, 1.50),
        ("sd15", "precision", "combined", 3.41, 1.54),
        ("sd14", "distillation", "baseline", 6.37, 1.0),
        ("sd14", "distillation", "distilled", 4.18, 1.52),
        ("sd14", "distillation", "distilled-tiny-vae", 3.83, 1.66),
    ],
)
def test_published_rows_are_the_documents(model, group, variant, seconds, speedup):
    row = published(model, group, variant)
    assert (row.seconds, row.speedup) == (seconds, speedup)
    assert "v0.30.2" in row.source and row.device == "NVIDIA A100"


def test_a_published_row_is_only_for_its_own_model():
    assert published("sd14", "precision", "fp16") is None
    assert published("miniature", "precision", "fp16") is None
    assert published(None, "precision", "fp16").model == "sd15"
    assert published("sd15", "precision", "bf16") is None


def test_a_baseline_comes_back_as_it_was_written(tmp_path):
    path = baseline_path(tmp_path, "some-cpu", "miniature", "precision", "fp16")
    write_baseline(path, BASELINE)
    assert path == tmp_path / "some-cpu" / "miniature" / "precision-fp16.json"
    assert read_baseline(path) == BASELINE
    assert [one.name for one in path.parent.iterdir()] == ["precision-fp16.json"]


def test_a_missing_baseline_is_none(tmp_path):
    assert read_baseline(tmp_path / "no.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 1}',
        "\N{REPLACEMENT CHARACTER}",
        json.dumps({**BASELINE.__dict__, "seconds": float("nan")}),
        json.dumps({**BASELINE.__dict__, "seconds": -1}),
        json.dumps({**BASELINE.__dict__, "seconds": "0.5"}),
        json.dumps({**BASELINE.__dict__, "rounds": []}),
        json.dumps({**BASELINE.__dict__, "rounds": None}),
        json.dumps({**BASELINE.__dict__, "fingerprint": "some-cpu"}),
        json.dumps({**BASELINE.__dict__, "peak_bytes": float("inf")}),
        json.dumps({**BASELINE.__dict__, "recorded": None}),
    ],
)
def test_a_damaged_baseline_says_so(tmp_path, text):
    path = tmp_path / "damaged.json"
    path.write_bytes(text.encode("utf-16" if text == "\N{REPLACEMENT CHARACTER}" else "utf-8"))
    with pytest.raises(LatentcyError, match=r"damaged.json is damaged|has schema None") as caught:
        read_baseline(path)
    assert "--benchmark-record" in caught.value.do


def test_a_baseline_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "later.json"
    path.write_text(json.dumps({**BASELINE.__dict__, "schema": 2}))
    with pytest.raises(LatentcyError, match="has schema 2") as caught:
        read_baseline(path)
    assert caught.value.expected == "schema 1"


def test_an_unwritable_place_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LatentcyError, match="cannot be written"):
        write_baseline(tmp_path / "file" / "baseline.json", BASELINE)


def test_an_interrupted_write_leaves_the_old_baseline_whole(tmp_path, monkeypatch):
    path = tmp_path / "baseline.json"
    write_baseline(path, BASELINE)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LatentcyError, match="No space left"):
        write_baseline(path, replace(BASELINE, seconds=0.1))
    assert read_baseline(path) == BASELINE
    assert [one.name for one in tmp_path.iterdir()] == ["baseline.json"]


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_baseline(tmp_path / "nan.json", replace(BASELINE, seconds=float("nan")))
    assert not list(tmp_path.iterdir())


def test_a_hub_id_stays_inside_its_folder_and_collides_with_nothing(tmp_path):
    def place(model):
        return baseline_path(tmp_path, "gpu", model, "precision", "fp16")

    assert place("../../etc").resolve().is_relative_to(tmp_path.resolve() / "gpu")
    assert len({place("a/b"), place("a-b"), place("a/b@c"), place("..")}) == 4


def test_a_fingerprint_holds_what_must_agree_and_no_path():
    device = SimpleNamespace(slug="gpu", name="A GPU", driver="1", threads=None)
    model = SimpleNamespace(
        name="mine",
        source="local",
        pipeline=SimpleNamespace(location="/somewhere/mine", revision=None),
    )
    workload = SimpleNamespace(
        seeds=(0,), width=64, height=64, steps=50, scheduler="ddim", guidance_scale=3.0
    )
    prints = fingerprint(
        device=device, model=model, workload=workload, environment={"torch": "2.4"}
    )
    assert "/somewhere" not in json.dumps(prints)
    assert prints["workload"] == "1 x 64x64, 50 ddim steps, guidance 3"
    assert differences(prints, {**prints, "torch": "2.13", "driver": "2"}) == ()
    assert differences(prints, {**prints, "device": "cpu"}) == ("device: cpu here, gpu stored",)
