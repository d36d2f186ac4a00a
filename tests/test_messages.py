"""Bad input to a whole run: one clear message, a non-zero exit, never a traceback."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tiny import build_tiny
from whole_run import assert_message, benchmark, benchmark_process, short_variants

pytestmark = pytest.mark.system

USAGE = 4
QUICK = ("--images=1", "--rounds=2", "--pairs=0")


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
            "from latentcy import Variant\nVARIANTS = [Variant('fp16', 'Once more.')]",
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


def test_baselines_that_are_named_and_not_there_are_an_error_unless_they_are_made(pytester, tiny):
    asked = (f"--model={tiny}", "--baselines=baselnies", short_variants(pytester.path))
    outcome = benchmark(pytester, *asked)
    assert outcome.status == USAGE
    assert_message(outcome, "baselnies, which is no folder", "--benchmark-record")
    made = benchmark(pytester, *asked[:1], "--collect-only", "--benchmark-record", asked[1])
    assert made.status == 0


def test_a_truncated_weight_file_is_named(pytester, tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    weights = next((copy / "pipeline" / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    outcome = benchmark(pytester, f"--model={copy}")
    assert_message(outcome, weights.name)


@pytest.mark.parametrize("content", ["{", json.dumps({"schema": 99})])
def test_a_broken_baseline_fails_its_case_alone(pytester, tiny, content):
    asked = (
        f"--model={tiny}",
        short_variants(pytester.path),
        "--only=other",
        "-k",
        "latency",
        *QUICK,
    )
    first = benchmark(pytester, "--benchmark-record", *asked)
    assert first.status == 0
    stored = next((pytester.path / "baselines").rglob("precision-other.json"))
    stored.write_text(content)
    outcome = benchmark(pytester, *asked)
    assert outcome.status == 1
    assert_message(outcome, "precision-other.json", "--benchmark-record")
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    assert {record["variant"] for record in records if record["seconds"]} == {"short", "other"}


def test_memory_running_out_or_an_exception_costs_one_case(pytester, tiny):
    variants = short_variants(
        pytester.path,
        "import torch\n"
        "def exhaust(pipeline):\n"
        "    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 TiB')\n"
        "def break_off(pipeline):\n"
        "    def forward(*arguments, **settings):\n"
        "        raise RuntimeError('shapes differ')\n"
        "    pipeline.unet.forward = forward\n"
        "VARIANTS += [Variant('greedy', 'Takes all memory.', prepare=exhaust, **SHORT),\n"
        "             Variant('broken', 'Raises.', prepare=break_off, **SHORT)]\n",
    )
    asked = (f"--model={tiny}", variants, "--no-builtin", "-k", "latency", *QUICK)
    outcome = benchmark(pytester, *asked)
    assert outcome.status == 1
    assert_message(outcome, "memory ran out", "9 TiB", "RuntimeError", "shapes differ")
    records = json.loads((outcome.results / "run.json").read_text())["records"]
    measured = {record["variant"]: record["seconds"] for record in records}
    assert measured["greedy"] is None
    assert measured["broken"] is None
    assert measured["other"] > 0


def test_an_interrupted_run_keeps_what_it_had_measured(tmp_path, tiny):
    variants = short_variants(
        tmp_path,
        "def interrupt(pipeline):\n"
        "    raise KeyboardInterrupt\n"
        "VARIANTS[1:] = [Variant('stopped', 'Is interrupted.', prepare=interrupt, **SHORT)]\n",
    )
    outcome = benchmark_process(
        tmp_path,
        f"--model={tiny}",
        variants,
        "--only=short,stopped",
        f"--benchmark-json={tmp_path}/benchmark.json",
        *QUICK,
    )
    assert outcome.status == pytest.ExitCode.INTERRUPTED
    records = json.loads((tmp_path / "results" / "run.json").read_text())["records"]
    measured = {record["variant"]: record["seconds"] for record in records}
    assert measured["short"] > 0
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert written["benchmarks"][0]["extra_info"]["variant"] == "short"
    assert "images.png" in outcome.text
    came = "1 of 2 cases were judged, precision/stopped was cut off"
    assert f"INTERRUPTED: {came}." in outcome.text and "PASSED:" not in outcome.text
    about = json.loads((tmp_path / "results" / "run.json").read_text())["about"]
    assert about["interrupted"] == came


def test_a_compilation_that_fails_is_one_message_and_costs_its_case_alone(tmp_path, tiny):
    variants = short_variants(
        tmp_path,
        "def broken(graph, inputs):\n"
        "    raise RuntimeError('no such instruction')\n"
        "def compile_unet(pipeline):\n"
        "    pipeline.unet.compile(backend=broken)\n"
        "VARIANTS[1:] = [\n"
        "    Variant('compiled', 'By a broken compiler.', prepare=compile_unet, **SHORT)]\n",
    )
    chosen = ("--only=short,compiled", "-k", "black or latency")
    # In a process of its own: pytester would take the compiler's modules away after it.
    outcome = benchmark_process(tmp_path, f"--model={tiny}", variants, *chosen, *QUICK)
    assert_message(outcome, "torch.compile, which failed for precision/compiled", "no such instr")
    assert "precision/compiled" in outcome.text
    assert "FAILED: 1 of 2 variants failed" in outcome.text
