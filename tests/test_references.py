"""What a case is paired with, and what becomes of it where that cannot be used."""

import sys

import pytest
import torch

from latentcy.core.settings import Settings
from latentcy.gates.speed import CONFIDENCE
from latentcy.pipelines.devices.compiled import is_compiled
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.variants import Variant
from latentcy.stats.looks import looks_for
from latentcy.suite.references import RemoteSampler
from latentcy.suite.run import Run
from latentcy.suite.timed_case import steady_mean
from tiny import build_tiny

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def a_run(tiny, folder, variants, **settings):
    file = folder / "variants.py"
    file.write_text(variants)
    chosen = {"model": str(tiny), "device": "cpu", "variants_file": file, "builtin": False}
    places = {"results": folder / "results", "baselines": folder / "baselines"}
    run = Run(Settings(**(chosen | places | {"pairs": 7} | settings)))
    run.expect({case.id: {"latency", "speed"} for case in run.cases})
    return run


def case(run, name):
    return next(one for one in run.cases if one.variant.name == name)


def time_case(run, name):
    timing = run.speed.begin(case(run, name))
    seconds = []
    while not timing.is_over(seconds):
        timing.before()
        seconds.append(timing.sampler.seconds())
        timing.after()
    run.speed.end(timing, seconds)
    return run.recorder.record_of(case(run, name))


BROKEN_REFERENCE = """
from latentcy import Variant

def run_out(pipeline):
    def fail(*arguments, **settings):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    pipeline.unet.forward = fail

VARIANTS = [
    Variant("hungry", "Needs more than there is.", reference="hungry", steps=4, prepare=run_out),
    Variant("healthy", "Nothing.", reference="hungry", steps=4),
]
"""


def test_a_reference_that_does_not_fit_leaves_the_case_timed_alone_and_the_gate_open(
    tiny, tmp_path
):
    run = a_run(tiny, tmp_path, BROKEN_REFERENCE)
    record = time_case(run, "healthy")
    assert record.seconds > 0 and record.pairs is None
    said = run.speed.verdict(case(run, "healthy"))
    assert said.status == "inconclusive"
    assert "memory ran out with both pipelines loaded (--pairs 0" in said.reason


UNPROMISED = """
from latentcy import Variant
SHORT = {"reference": "short", "ssim_reference": "short", "steps": 4}
VARIANTS = [
    Variant("short", "Four steps.", **SHORT),
    Variant("free", "Promises speed elsewhere.", no_slower_on=("cuda",), **SHORT),
]
"""


def test_a_case_that_promises_no_speed_here_is_timed_alone_unless_a_number_is_asked_for(
    tiny, tmp_path
):
    run = a_run(tiny, tmp_path, UNPROMISED, pairs=None)
    reference, record = time_case(run, "short"), time_case(run, "free")
    assert record.pairs is None and len(record.rounds) == 5
    assert record.speedup == pytest.approx(reference.seconds / record.seconds)
    assert run.speed.verdict(case(run, "free")) is None
    run.close()
    asked = a_run(tiny, tmp_path, UNPROMISED, pairs=7)
    assert len(time_case(asked, "free").pairs) == 7
    asked.close()


SEVERAL = """
from latentcy import Variant
SHORT = {"reference": "first", "ssim_reference": "first", "steps": 4}
VARIANTS = [Variant("first", "Four steps.", **SHORT)]
VARIANTS += [Variant(f"same-{each}", "Nothing.", **SHORT) for each in range(3)]
"""


@pytest.mark.parametrize("part", [{}, {"shard": (1, 3)}, {"case": "precision/same-1"}])
def test_a_part_of_a_run_looks_as_the_whole_run_does(tiny, tmp_path, part):
    run = a_run(tiny, tmp_path, SEVERAL, pairs=None, **part)
    run.expect({case.id: {"latency", "speed"} for case in run.chosen})
    timing = run.speed.begin(next(one for one in run.chosen if "same" in one.id))
    assert timing.plan.looks == looks_for(3, CONFIDENCE)
    timing.close()
    run.close()


COMPILED = """
import torch
from latentcy import Variant

def compile_unet(pipeline):
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")

SHORT = {"reference": "plain", "ssim_reference": "plain", "steps": 4}
VARIANTS = [
    Variant("plain", "Four steps.", **SHORT),
    Variant("compiled", "By one compiler.", prepare=compile_unet, **SHORT),
    Variant("again", "By the same.", prepare=compile_unet, **(SHORT | {"reference": "compiled"})),
]
"""


def test_two_compiled_pipelines_are_never_timed_in_one_process(tiny, tmp_path):
    run = a_run(tiny, tmp_path, COMPILED)
    again = case(run, "again")
    reference = run.references.open(again, beside=run.loaded.sampler(again))
    try:
        assert isinstance(reference, RemoteSampler)
        assert reference.seconds() > 0
    finally:
        reference.close()
    compiled = case(run, "compiled")
    plain = run.references.open(compiled, beside=run.loaded.sampler(compiled))
    assert not isinstance(plain, RemoteSampler)
    plain.close()
    run.close()


def test_compiled_modules_are_known_whole_or_in_part(tiny, tmp_path):
    run = a_run(tiny, tmp_path, COMPILED)
    pipeline = run.loaded.sampler(case(run, "plain")).pipeline
    assert not is_compiled(pipeline)
    pipeline.unet.mid_block.compile(backend="eager")
    assert is_compiled(pipeline)
    run.close()


def test_what_was_timed_before_an_error_is_kept_and_not_judged(tiny, tmp_path):
    run = a_run(
        tiny,
        tmp_path,
        "from latentcy import Variant\n"
        "SHORT = {'reference': 'first', 'steps': 4}\n"
        "VARIANTS = [Variant('first', '', **SHORT), Variant('own', 'Nothing.', **SHORT)]",
    )
    timing = run.speed.begin(case(run, "own"))
    for _ in range(3):
        timing.before()
        timing.sampler.seconds()
        timing.after()
    run.speed.cut_off(timing, [0.1, 0.2, 0.3])
    record = run.recorder.record_of(case(run, "own"))
    assert record.rounds == (0.1, 0.2, 0.3)
    said = run.speed.verdict(case(run, "own"))
    assert (said.status, said.reason) == (
        "inconclusive",
        "its timing was cut off after 3 of 7 pairs",
    )
    run.close()


def test_a_restless_yardstick_corrects_nothing_and_is_said():
    assert steady_mean(1.0, 1.04) == (pytest.approx(1.02), "")
    seconds, said = steady_mean(1.0, 1.5)
    assert seconds is None
    assert said == "the machine's yardstick became 50% slower during the case"
    assert steady_mean(None, 1.0) == (None, "")


def test_the_next_case_does_not_run_the_last_ones_compiled_code(tiny, tmp_path, monkeypatch):
    run = a_run(tiny, tmp_path, COMPILED)
    run.loaded.sampler(case(run, "compiled"))
    assert "torch._dynamo" in sys.modules
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    run.loaded.sampler(case(run, "again"))
    assert resets
    monkeypatch.undo()
    run.close()


def test_a_device_that_promises_nothing_is_stated_by_its_kind():
    from latentcy.core.errors import LatentcyError

    with pytest.raises(LatentcyError, match="no_slower_on"):
        Variant("mine", "Nothing.", no_slower_on=("gpu",))
    assert find_device("cpu").kind in Variant("mine", "Nothing.").no_slower_on
