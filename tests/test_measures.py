"""Peak, memory, stages and trace: measured on the tiny pipeline, for what cannot vary."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentcy.core.costs import STAGES, PeakFlops
from latentcy.core.errors import LatentcyError
from latentcy.measure import peak_flops as peak
from latentcy.measure.peak_flops import PeakFlopsCache, device_peak
from latentcy.measure.profiler_trace import (
    Operator,
    operators_table,
    profile_generation,
    write_trace,
)
from latentcy.pipelines import time_spent as spent
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.devices.memory import resident_bytes, watched_memory
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.stages import stage_seconds
from latentcy.pipelines.variants import BUILTIN
from latentcy.pipelines.workload import workload
from tiny import build_tiny

CPU = find_device("cpu")
BY_ID = {each.id: each for each in BUILTIN}


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    model = resolve_model(str(build_tiny(tmp_path_factory.mktemp("tiny"))), CPU)[0]
    work = workload("single", height=64, width=64, guidance_scale=3.0)
    return open_sampler(model, BY_ID["precision/baseline"], CPU, replace(work, steps=3))


def test_the_peak_is_of_the_size_that_was_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {256: 1e-4, 512: 1e-4, 1024: 1e-2, 2048: 1e-1}
    monkeypatch.setattr(peak, "_product_seconds", lambda device, dtype, size: taken[size])
    found = device_peak(CPU, "float32")
    assert (found.size, found.flops_per_second) == (512, 2 * 512**3 / 1e-4)


def test_a_size_that_would_take_too_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def slow(device: Any, dtype: Any, size: int) -> float:
        tried.append(size)
        return 0.5

    monkeypatch.setattr(peak, "_product_seconds", slow)
    assert device_peak(CPU, "float32").size == 256
    assert tried == [256]


def test_a_larger_product_without_room_leaves_the_smaller_ones_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def small_only(device: Any, dtype: Any, size: int) -> float:
        if size > 256:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return 1e-4

    monkeypatch.setattr(peak, "_product_seconds", small_only)
    assert device_peak(CPU, "float32").size == 256


def test_a_product_that_cannot_be_done_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> float:
        raise RuntimeError('"addmm" not implemented')

    monkeypatch.setattr(peak, "_product_seconds", refuse)
    assert device_peak(CPU, "float16").flops_per_second is None


def test_a_real_product_is_timed_and_the_switches_stay() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    found = device_peak(CPU, "float32", tf32=True)
    assert found.flops_per_second is not None and found.flops_per_second > 1e6
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_variants_of_one_arithmetic_share_one_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, bool]] = []

    def measured(device: Any, dtype: str, *, tf32: bool) -> Any:
        asked.append((dtype, tf32))
        return PeakFlops(dtype, tf32, {"float32": 2.0, "float16": 1.0}.get(dtype, 3.0))

    monkeypatch.setattr(peak, "device_peak", measured)
    peaks = PeakFlopsCache(CPU)
    names = ("fp16", "combined", "tf32", "baseline", "bf16", "autocast")
    found = [peaks.of(BY_ID[f"precision/{name}"]) for name in names]
    assert sorted(asked) == sorted(
        [("float16", False), ("float32", True), ("float32", False), ("bfloat16", False)]
    )
    assert found[0] is found[1] and found[4] is found[5]


def test_what_a_cpu_emulates_is_held_against_the_fp32_in_which_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen: 171 % of the peak of a matrix product in fp16, by convolutions that ran in fp32."""
    speeds = {"float32": 50.0, "float16": 1.5, "bfloat16": 200.0}
    monkeypatch.setattr(
        peak, "device_peak", lambda device, dtype, *, tf32: PeakFlops(dtype, tf32, speeds[dtype])
    )
    peaks = PeakFlopsCache(CPU)
    assert peaks.of(BY_ID["precision/fp16"]).dtype == "float32"
    assert peaks.of(BY_ID["precision/bf16"]).dtype == "bfloat16"
    assert peaks.of(BY_ID["precision/baseline"]).dtype == "float32"


@pytest.mark.skipif(resident_bytes() is None, reason="the resident set is read from /proc")
def test_memory_shows_what_was_used_and_what_is_kept() -> None:
    with watched_memory(CPU) as watched:
        kept = np.ones(2**23, dtype=np.uint8)
        del kept
    with watched_memory(CPU) as keeping:
        kept = np.ones(2**26, dtype=np.uint8)
    before, after = watched.memory, keeping.memory
    assert after.after_resident_bytes - before.after_resident_bytes > 2**25
    if after.peak_bytes is not None:
        assert after.peak_bytes >= after.after_resident_bytes - 2**20
    assert after.peak_reserved_bytes is None  # an allocator's figure: a CPU has none
    assert kept.nbytes == 2**26


def test_the_stages_seconds_are_of_the_timed_call_and_change_nothing(sampler: Sampler) -> None:
    before = sampler.generate().images
    already = sampler.generating_seconds
    seconds = stage_seconds(sampler)
    assert tuple(seconds) == STAGES and all(each > 0 for each in seconds.values())
    assert sum(seconds.values()) < sampler.generating_seconds - already
    assert vars(sampler.pipeline).get("encode_prompt") is None
    assert np.array_equal(sampler.generate().images, before)


def test_the_trace_is_a_chrome_trace_with_the_stages_in_it(
    sampler: Sampler, tmp_path: Path
) -> None:
    path = write_trace(sampler, tmp_path / "new" / "trace.json")
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    labels = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [name for name in labels if name in STAGES] == list(STAGES)
    assert [each.name for each in path.parent.iterdir()] == ["trace.json"]


def test_a_trace_named_gz_is_compressed_and_shortened_on_request(
    sampler: Sampler, tmp_path: Path
) -> None:
    def convolutions(steps: int | None) -> int:
        path = write_trace(sampler, tmp_path / f"{steps}.json.gz", steps=steps)
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
        return sum(event.get("name") == "aten::convolution" for event in events)

    assert convolutions(1) < convolutions(None)
    assert sampler.workload.steps == 3


def test_an_unwritable_folder_is_told_before_anything_is_generated(
    sampler: Sampler, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    before = spent.so_far().generating
    with pytest.raises(LatentcyError, match="cannot be written"):
        write_trace(sampler, tmp_path / "file" / "trace.json")
    with pytest.raises(LatentcyError, match="which is a folder"):
        write_trace(sampler, tmp_path)
    assert spent.so_far().generating == before


def test_a_trace_that_was_cut_off_leaves_the_old_file(
    sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace.json"
    path.write_text("the old one")
    profile = profile_generation(sampler, steps=1)

    def cut_off(target: str) -> None:
        Path(target).write_text('{"traceEvents": [')

    monkeypatch.setattr(profile._profiler, "export_chrome_trace", cut_off)
    with pytest.raises(LatentcyError, match="cut off"):
        profile.write(path)
    assert path.read_text() == "the old one"
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"]


def test_the_summary_names_operators_and_not_stages(sampler: Sampler) -> None:
    profile = profile_generation(sampler, steps=1)
    names = [one.name for one in profile.operators()]
    assert "aten::mkldnn_convolution" in names and not set(STAGES) & set(names)
    seconds = [one.seconds for one in profile.operators()]
    assert seconds == sorted(seconds, reverse=True)
    assert len(profile.summary(rows=3).splitlines()) == 2 + 3 + 1


def test_a_kernels_long_name_stays_within_a_hundred_columns() -> None:
    long = Operator("void cutlass::Kernel<" + "x" * 300, 123456, 1234.5)
    text = operators_table([long], kind="kernel")
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "100.0%" in text and "123456" in text


def test_no_operator_makes_a_table_all_the_same() -> None:
    assert len(operators_table([], kind="kernel").splitlines()) == 2
