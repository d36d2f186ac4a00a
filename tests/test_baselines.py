"""Baselines: the published rows are the document's, stored ones are whole, alike, or refused."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.settings import Settings
from latentcy.store.baseline_store import BaselineStore
from latentcy.store.baselines import (
    KEPT_RUNS,
    MUST_AGREE,
    StoredBaseline,
    StoredRun,
    add_run,
    baseline_path,
    changes,
    differences,
    fingerprint,
    is_seconds,
    read_baseline,
    versions,
    write_baseline,
)
from latentcy.store.published_tables import published

PRINT = {"device": "some-cpu", "model": "miniature"}
RUN = StoredRun(
    recorded="2025-01-01T12:00:00+00:00",
    seconds=0.5,
    rounds=(0.4, 0.5, 0.6),
    yardstick_seconds=0.03,
    peak_bytes=123456,
    versions={"torch": "2.12.0"},
)
BASELINE = StoredBaseline("miniature/precision/fp16", PRINT, (RUN, replace(RUN, seconds=0.6)))
DATA = {"schema": 2, **asdict(BASELINE)}
DEVICE = SimpleNamespace(kind="cpu", slug="gpu", name="A GPU", driver="1", threads=None)
MODEL = SimpleNamespace(
    name="mine",
    source="local",
    pipeline=SimpleNamespace(location="/somewhere/mine", revision=None),
)
WORKLOAD = SimpleNamespace(
    seeds=(0,), width=64, height=64, steps=50, scheduler="ddim", guidance_scale=3.0
)
WHAT = {"model": MODEL, "workload": WORKLOAD, "weights": "local:1f", "timing": "alone"}


def with_run(**changed):
    return json.dumps({**DATA, "runs": [{**asdict(RUN), **changed}]})


def without(name):
    return json.dumps({**DATA, "runs": [{k: v for k, v in asdict(RUN).items() if k != name}]})


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
        "[" * 100_000,
        '{"schema": 2}',
        "\N{REPLACEMENT CHARACTER}",
        json.dumps({**DATA, "case": None}),
        json.dumps({**DATA, "fingerprint": "some-cpu"}),
        json.dumps({**DATA, "fingerprint": {"threads": 2}}),
        json.dumps({**DATA, "runs": []}),
        json.dumps({**DATA, "runs": {}}),
        json.dumps({**DATA, "runs": 0.5}),
        json.dumps({**DATA, "runs": [0.5]}),
        with_run(seconds=float("nan")),
        with_run(seconds=float("inf")),
        with_run(seconds=0),
        with_run(seconds=-1),
        with_run(seconds=10**400),
        with_run(seconds="0.5"),
        with_run(seconds=True),
        with_run(rounds=[]),
        with_run(rounds=None),
        with_run(rounds=[0.5, float("nan")]),
        with_run(yardstick_seconds=0),
        with_run(yardstick_seconds="0.03"),
        with_run(peak_bytes=float("inf")),
        with_run(peak_bytes=0),
        with_run(peak_bytes="1"),
        with_run(peak_bytes=True),
        with_run(recorded=None),
        with_run(recorded="yesterday"),
        with_run(versions=None),
        with_run(versions={"torch": 2}),
        with_run(counters=[1]),
        with_run(counters="many"),
        *(without(name) for name in asdict(RUN) if name != "counters"),  # older files have none
    ],
)
def test_a_damaged_baseline_says_so(tmp_path, text):
    path = tmp_path / "damaged.json"
    path.write_bytes(text.encode("utf-16" if text == "\N{REPLACEMENT CHARACTER}" else "utf-8"))
    with pytest.raises(LatentcyError, match=r"damaged.json is damaged") as caught:
        read_baseline(path)
    assert "--benchmark-record" in caught.value.do


@pytest.mark.parametrize("schema", [1, 3, None, "2"])
def test_a_baseline_of_another_schema_is_refused(tmp_path, schema):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**DATA, "schema": schema}))
    with pytest.raises(LatentcyError, match=f"has schema {schema!r}") as caught:
        read_baseline(path)
    assert caught.value.expected == "schema 2"


def test_a_baseline_that_a_writer_made_is_not_damaged_by_the_readers_rules(tmp_path):
    (tmp_path / "sound.json").write_text(json.dumps(DATA))
    assert read_baseline(tmp_path / "sound.json") == BASELINE


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
        write_baseline(path, replace(BASELINE, runs=(RUN,)))
    assert read_baseline(path) == BASELINE
    assert [one.name for one in tmp_path.iterdir()] == ["baseline.json"]


@pytest.mark.parametrize(
    "changed",
    [{"seconds": float("nan")}, {"rounds": ()}, {"yardstick_seconds": -1.0}, {"peak_bytes": 0}],
)
def test_what_would_not_be_read_is_never_written(tmp_path, changed):
    with pytest.raises((ValueError, TypeError)):
        write_baseline(tmp_path / "no.json", replace(BASELINE, runs=(replace(RUN, **changed),)))
    assert not list(tmp_path.iterdir())


def test_a_hub_id_stays_inside_its_folder_and_collides_with_nothing(tmp_path):
    def place(model):
        return baseline_path(tmp_path, "gpu", model, "precision", "fp16")

    assert place("../../etc").resolve().is_relative_to(tmp_path.resolve() / "gpu")
    assert len({place("a/b"), place("a-b"), place("a/b@c"), place("..")}) == 4


def test_a_fingerprint_holds_what_must_agree_and_no_path():
    prints = fingerprint(device=DEVICE, **WHAT)
    assert tuple(sorted(prints)) == tuple(sorted(MUST_AGREE))
    assert "/somewhere" not in json.dumps(prints)
    assert prints["workload"] == "1 x 64x64, 50 ddim steps, guidance 3"
    assert differences(prints, {**prints, "torch": "2.13", "driver": "2"}) == ()


@pytest.mark.parametrize("name", MUST_AGREE)
def test_each_thing_that_must_agree_is_named_where_it_does_not(name):
    prints = fingerprint(device=DEVICE, **WHAT)
    assert differences({**prints, name: "a"}, {**prints, name: "b"}) == (
        f"{name}: b here, a stored",
    )


def test_devices_are_counted_where_there_can_be_several(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)

    def count(kind):
        device = SimpleNamespace(**{**vars(DEVICE), "kind": kind})
        return fingerprint(device=device, **WHAT)["device_count"]

    assert (count("cuda"), count("cpu")) == ("8", "1")


def test_baselines_are_read_where_there_is_no_torch():
    asked = "import sys; sys.modules['torch'] = None; import latentcy.store.baselines"
    subprocess.run([sys.executable, "-c", asked], check=True)


def test_versions_are_those_that_matter_and_are_there():
    environment = {"torch": "2.13.0", "os": "Linux", "driver": "", "cuda": "12.6"}
    assert versions(environment) == {"torch": "2.13.0", "cuda": "12.6"}


def test_every_change_of_a_version_is_named():
    before = {"torch": "2.12.0", "diffusers": "0.30", "cuda": "12.6"}
    now = {"torch": "2.13.0", "diffusers": "0.30", "driver": "550"}
    assert changes(before, now) == (
        "torch 2.12.0 -> 2.13.0",
        "cuda 12.6 -> none",
        "driver none -> 550",
    )


def test_a_run_is_added_behind_those_of_the_same_fingerprint():
    new = replace(RUN, seconds=0.7)
    recorded = add_run(BASELINE, new, case=BASELINE.case, fingerprint={**PRINT, "torch": "3"})
    assert recorded.anew is None
    assert recorded.baseline.runs == (*BASELINE.runs, new)
    assert recorded.baseline.newest == new


def test_another_fingerprint_begins_anew_and_says_why():
    recorded = add_run(BASELINE, RUN, case=BASELINE.case, fingerprint={**PRINT, "device": "gpu"})
    assert recorded.anew == (
        "the one stored is of something else (device: gpu here, some-cpu stored)"
    )
    assert recorded.baseline.runs == (RUN,)
    assert recorded.baseline.fingerprint["device"] == "gpu"


def test_a_first_run_begins_anew():
    recorded = add_run(None, RUN, case="c", fingerprint=PRINT)
    assert (recorded.baseline.runs, recorded.anew) == ((RUN,), "none was stored")


def test_only_the_last_runs_are_kept():
    full = replace(BASELINE, runs=tuple(replace(RUN, seconds=float(i)) for i in range(1, 51)))
    kept = add_run(full, replace(RUN, seconds=51.0), case="c", fingerprint=PRINT).baseline.runs
    assert len(kept) == KEPT_RUNS == 50
    assert (kept[0].seconds, kept[-1].seconds) == (2.0, 51.0)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, None, "1", 1e-12, 1e12])
def test_what_no_clock_gives_is_no_time(value):
    assert not is_seconds(value)


class Bench:
    """A store in a folder of its own, and one case that it holds."""

    def __init__(self, root, **settings):
        settings = replace(Settings(), baselines=root, **settings)
        environment = {"torch": "2.13.0", "os": "Linux"}
        self.baseline_store = BaselineStore(
            settings, DEVICE, MODEL, environment, identify=lambda *_: "local:1f"
        )
        variant = SimpleNamespace(group="precision", name="fp16")
        self.case = SimpleNamespace(id="mine/precision/fp16", variant=variant, workload=WORKLOAD)
        self.path = root / "gpu" / "mine" / "precision-fp16.json"

    def store(self, seconds=0.5, **changed):
        record = Record(self.case.id, "mine", "precision", "fp16", "", "A GPU", seconds=seconds)
        record = replace(record, **{"rounds": (seconds, seconds), "peak_bytes": 7} | changed)
        return self.baseline_store.store(self.case, record, yardstick_seconds=0.03)


def test_a_shelf_stores_run_behind_run(tmp_path):
    bench = Bench(tmp_path)
    assert bench.store(0.5).anew == "none was stored"
    assert bench.store(0.6).anew is None
    stored = bench.baseline_store.stored(bench.case)
    assert [run.seconds for run in stored.runs] == [0.5, 0.6]
    assert stored.newest.yardstick_seconds == 0.03
    assert stored.newest.versions == {"torch": "2.13.0"}
    assert stored.newest.recorded.endswith("+00:00")


def test_a_shelf_that_records_replaces_what_cannot_be_read_and_says_so(tmp_path):
    bench = Bench(tmp_path, record=True)
    bench.path.parent.mkdir(parents=True)
    bench.path.write_text('{"schema": 1}')
    assert bench.baseline_store.stored(bench.case) is None
    assert "has schema 1" in bench.store().anew
    assert len(bench.baseline_store.stored(bench.case).runs) == 1


def test_a_file_of_another_case_is_refused(tmp_path):
    bench = Bench(tmp_path)
    bench.store()
    data = json.loads(bench.path.read_text())
    bench.path.write_text(json.dumps({**data, "case": "mine/precision/bf16"}))
    with pytest.raises(LatentcyError, match="is of the case mine/precision/bf16"):
        bench.baseline_store.stored(bench.case)


@pytest.mark.parametrize("rounds", [(0.0, 0.0), (0.5, float("nan"))])
def test_rounds_that_are_no_times_are_not_stored(tmp_path, rounds):
    bench = Bench(tmp_path)
    with pytest.raises(LatentcyError, match="rounds of mine/precision/fp16"):
        bench.store(rounds=rounds)
    assert not bench.path.exists()


def test_a_peak_that_was_not_read_is_stored_as_none(tmp_path):
    assert Bench(tmp_path).store(peak_bytes=None).baseline.newest.peak_bytes is None
