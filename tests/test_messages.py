"""Bad input to a whole run: one clear message, a non-zero exit, never a traceback."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tiny import build_tiny
from whole_run import assert_message, benchmark, benchmark_process

USAGE = 4
QUICK = ("--images=1", "--rounds=2", "--pairs=0", "--only=bf16")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def test_an_unknown_model_names_the_nearest(pytester):
    outcome = benchmark(pytester, "--model=minature")
    assert outcome.status == USAGE
    assert_message(outcome, "did you mean 'miniature'?")


def test_an_unknown_variant_names_the_nearest(pytester):
    outcome = benchmark(pytester, "--model=miniature", "--only=fp61")
    assert outcome.status == USAGE
    assert_message(outcome, "did you mean 'fp16'?")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("VARIANT = []", "no VARIANTS"),
        ("VARIANTS = []", "empty VARIANTS"),
        ("def broken(:", "SyntaxError"),
        (
            "from latentcy.generate.variants import Variant\n"
            "VARIANTS = [Variant('fp16', 'Once more.')]",
            "two variants with the id precision/fp16",
        ),
    ],
)
def test_a_variants_file_that_is_none_says_why(pytester, source, said):
    file = pytester.path / "mine.py"
    file.write_text(source)
    outcome = benchmark(pytester, f"--variants={file}")
    assert outcome.status == USAGE
    assert_message(outcome, said)


def test_no_cuda_when_it_was_asked_for(pytester):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    outcome = benchmark(pytester, "--device=cuda")
    assert outcome.status == USAGE
    assert_message(outcome, "--device cpu")


def test_a_folder_that_is_no_pipeline(pytester):
    outcome = benchmark(pytester, f"--model={pytester.path}")
    assert outcome.status == USAGE
    assert_message(outcome, "model_index.json")


def test_a_hub_that_cannot_be_reached(pytester, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    outcome = benchmark(pytester, "--model=somebody/a-model-nobody-has")
    assert outcome.status == USAGE
    assert_message(outcome, "somebody/a-model-nobody-has")


def test_results_that_cannot_be_written(pytester):
    in_the_way = pytester.path / "a-file"
    in_the_way.write_text("")
    outcome = benchmark(pytester, f"--results={in_the_way}/results")
    assert outcome.status == USAGE
    assert_message(outcome, "--results")


def test_a_truncated_weight_file_is_named(pytester, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    weights = next((copy / "pipeline" / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    outcome = benchmark(pytester, f"--model={copy}")
    assert_message(outcome, weights.name)


@pytest.mark.parametrize("content", ["{", json.dumps({"schema": 99})])
def test_a_broken_baseline_fails_its_case_alone(pytester, tiny, content):
    first = benchmark(pytester, f"--model={tiny}", "--benchmark-record", *QUICK)
    assert first.status == 0
    stored = next((pytester.path / "baselines").rglob("precision-bf16.json"))
    stored.write_text(content)
    outcome = benchmark(pytester, f"--model={tiny}", *QUICK)
    assert outcome.status == 1
    assert_message(outcome, "precision-bf16.json", "--benchmark-record")
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    assert {record["variant"] for record in records if record["seconds"]} == {"baseline", "bf16"}


def test_memory_running_out_or_an_exception_costs_one_case(pytester, tiny):
    file = pytester.path / "mine.py"
    file.write_text(
        "import torch\n"
        "from latentcy.generate.variants import Variant\n"
        "def exhaust(pipeline):\n"
        "    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 TiB')\n"
        "def break_off(pipeline):\n"
        "    def forward(*arguments, **settings):\n"
        "        raise RuntimeError('shapes differ')\n"
        "    pipeline.unet.forward = forward\n"
        "VARIANTS = [Variant('greedy', 'Takes all memory.', prepare=exhaust),\n"
        "            Variant('broken', 'Raises.', prepare=break_off),\n"
        "            Variant('modest', 'Nothing.')]\n"
    )
    outcome = benchmark(
        pytester, f"--model={tiny}", f"--variants={file}", "--no-builtin", *QUICK[:2]
    )
    assert outcome.status == 1
    assert_message(outcome, "memory ran out", "9 TiB", "RuntimeError", "shapes differ")
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    measured = {record["variant"]: record["seconds"] for record in records}
    assert measured["greedy"] is None
    assert measured["broken"] is None
    assert measured["modest"] > 0


def test_an_interrupted_run_keeps_what_it_had_measured(tmp_path, tiny):
    file = tmp_path / "mine.py"
    file.write_text(
        "from latentcy.generate.variants import Variant\n"
        "def interrupt(pipeline):\n"
        "    raise KeyboardInterrupt\n"
        "VARIANTS = [Variant('stopped', 'Is interrupted.', prepare=interrupt)]\n"
    )
    outcome = benchmark_process(
        tmp_path,
        f"--model={tiny}",
        f"--variants={file}",
        "--no-builtin",
        f"--benchmark-json={tmp_path}/benchmark.json",
        *QUICK[:2],
    )
    assert outcome.status == pytest.ExitCode.INTERRUPTED
    records = json.loads((tmp_path / "results" / "run.json").read_text())["records"]
    measured = {record["variant"]: record["seconds"] for record in records}
    assert measured["baseline"] > 0
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert written["benchmarks"][0]["extra_info"]["variant"] == "baseline"
    assert "images.png" in outcome.text
    came = "1 of 2 cases were judged, precision/stopped was cut off"
    assert f"INTERRUPTED: {came}." in outcome.text and "PASSED:" not in outcome.text
    about = json.loads((tmp_path / "results" / "run.json").read_text())["about"]
    assert about["interrupted"] == came


def test_a_compilation_that_fails_is_one_message_and_costs_its_case_alone(pytester, tiny):
    file = pytester.path / "mine.py"
    file.write_text(
        "import torch\n"
        "from latentcy.generate.variants import Variant\n"
        "def broken(graph, inputs):\n"
        "    raise RuntimeError('no such instruction')\n"
        "def compile_unet(pipeline):\n"
        "    pipeline.unet.compile(backend=broken)\n"
        "VARIANTS = [Variant('compiled', 'By a broken compiler.', prepare=compile_unet)]\n"
    )
    outcome = benchmark(
        pytester,
        f"--model={tiny}",
        f"--variants={file}",
        "--no-builtin",
        "--images=1",
        "--pairs=0",
        "--rounds=2",
    )
    assert_message(outcome, "torch.compile, which failed for precision/compiled", "no such instr")
    assert "precision/compiled" in outcome.text
    assert "FAILED: 1 of 2 variants failed" in outcome.text
