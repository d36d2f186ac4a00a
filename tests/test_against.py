"""Another environment beside this one: the same case there, and whatever goes wrong with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import environment, find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN
from latentcy.pipelines.workload import Workload, workload
from latentcy.remote.environment import OtherEnvironment, OtherSampler, version_differences
from other_environment import (
    OTHER_DIFFUSERS,
    NotInstalled,
    build_bare_environment,
    build_other_environment,
)
from stub_model import stub_file
from tiny import build_tiny

pytestmark = pytest.mark.system

CPU = find_device("cpu")
WORK = replace(workload("single", height=64, width=64, guidance_scale=3.0), steps=3)
PROMPTS = ["a red cat", "a blue dog", "a green hat"]
SEEDS = [3, 4, 5]
ROOT = Path(__file__).resolve().parents[1]

HOOKS = """
import ctypes
import os
import signal
import sys
import time

from latentcy import Variant


def on_call(number, act):
    def prepare(pipeline):
        forward, calls = pipeline.unet.forward, []
        def counted(*arguments, **settings):
            calls.append(None)
            if len(calls) == number:
                act()
            return forward(*arguments, **settings)
        pipeline.unet.forward = counted
    return prepare

def killed():
    print("my last words")
    os.kill(os.getpid(), signal.SIGKILL)

def killed_beside_a_child():
    if os.fork() == 0:
        time.sleep(600)
    killed()

def shout():
    print("a line for execnet to trip over", flush=True)
    os.write(1, b"1" * 100_000)

def raises():
    raise ValueError("too bright")

VARIANTS = [
    Variant("killed", "c", prepare=on_call(2, killed)),
    Variant("exits", "c", prepare=on_call(2, lambda: (print("leaving"), os._exit(3)))),
    Variant("faults", "c", prepare=on_call(2, lambda: ctypes.string_at(0))),
    Variant("forks", "c", prepare=on_call(2, killed_beside_a_child)),
    Variant("shouts", "c", prepare=on_call(1, shout)),
    Variant("raises", "c", prepare=on_call(1, raises)),
    Variant("leaves", "c", prepare=on_call(1, sys.exit)),
    Variant("sleeps", "c", prepare=on_call(1, lambda: time.sleep(600))),
]
"""

LOOKS = """
import os
import sys
import threading

from latentcy import Variant

def look_around(pipeline):
    only_here = {"execnet", "pytest", "torchmetrics", "latentcy.gates", "latentcy.suite.run"}
    assert not only_here & set(sys.modules), only_here & set(sys.modules)
    assert threading.current_thread() is threading.main_thread()
    assert "" not in sys.path and os.getcwd() not in sys.path, sys.path

VARIANTS = [Variant("looks", "c", prepare=look_around)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and a variants file with hooks that misbehave, which makes stubs of it."""
    root = tmp_path_factory.mktemp("against")
    build_tiny(root / "tiny")
    (root / "looks.py").write_text(LOOKS)
    stub_file(root / "hooks.py", HOOKS)
    return root


@pytest.fixture(scope="module")
def real(folder: Path) -> Iterator[Callable[[str], OtherSampler]]:
    """This interpreter again, in another process, with the tiny model."""
    threads = torch.get_num_threads()
    there = OtherEnvironment(sys.executable, device="cpu", threads=threads, limit_seconds=300)
    yield lambda name: open_there(there, folder, f"precision/{name}", variants="looks.py")
    there.close()


@pytest.fixture(scope="module")
def other() -> Iterator[OtherEnvironment]:
    """The same with a stub in the model's place."""
    there = OtherEnvironment(
        sys.executable, device="cpu", threads=torch.get_num_threads(), limit_seconds=300
    )
    yield there
    there.close()


@pytest.fixture(scope="module")
def opened(folder: Path, other: OtherEnvironment) -> Callable[[str], OtherSampler]:
    return lambda name: open_there(other, folder, f"precision/{name}")


def open_there(
    there: OtherEnvironment,
    folder: Path,
    variant_id: str,
    *,
    variants: str = "hooks.py",
    work: Workload = WORK,
) -> OtherSampler:
    return there.open(
        model=str(folder / "tiny"),
        variants_file=folder / variants,
        variant_id=variant_id,
        device="cpu",
        workload=work,
    )


def open_here(folder: Path) -> Sampler:
    model, _ = resolve_model(str(folder / "tiny"), CPU)
    return open_sampler(model, BUILTIN[0], CPU, WORK)


def gone(pid: int, patience_seconds: float = 30.0) -> bool:
    """Whether the process ends (or is a zombie) within that time."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            if stat.is_file() and ") Z " in stat.read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def refused(python: object) -> LatentcyError:
    with pytest.raises(LatentcyError) as caught:
        OtherEnvironment(str(python), device="cpu")
    return caught.value


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


# What it gives


def test_the_same_interpreter_gives_the_same_images(folder, real):
    there = real("baseline").images(PROMPTS, SEEDS, batch=2)
    here = [
        open_here(folder).generate(PROMPTS[part], SEEDS[part]).images
        for part in (slice(0, 2), slice(2, 3))
    ]
    assert there.dtype == np.float32
    assert np.array_equal(there, np.concatenate(here))


def test_the_same_interpreter_has_the_same_environment(other):
    assert other.environment == environment(CPU)


def test_a_generation_is_timed_inside_the_call(opened):
    sampler = opened("baseline")
    started = time.perf_counter()
    seconds = sampler.seconds()
    assert 0 < seconds <= time.perf_counter() - started


def test_more_steps_take_longer(folder, other):
    long = open_there(other, folder, "precision/baseline", work=replace(WORK, steps=60))
    long_seconds = min(long.seconds() for _ in range(3))
    short = open_there(other, folder, "precision/baseline")
    assert long_seconds > 3 * min(short.seconds() for _ in range(3))


def test_one_process_serves_case_after_case(other, opened):
    first = opened("baseline")
    before = other.pid
    opened("fp16").seconds()
    assert other.pid == before
    with pytest.raises(LatentcyError, match="precision/baseline is no longer loaded"):
        first.seconds()


def test_a_closed_case_is_let_go_and_the_process_stays(other, opened):
    sampler = opened("baseline")
    sampler.close()
    with pytest.raises(LatentcyError, match="no longer loaded"):
        sampler.seconds()
    assert opened("baseline").seconds() > 0


def test_prompts_and_seeds_must_agree_in_number(opened):
    with pytest.raises(ValueError, match="3 prompts for 2 seeds"):
        opened("baseline").images(PROMPTS, SEEDS[:2])


def test_the_worker_needs_only_what_generates_and_leaves_the_path_alone(real):
    assert real("looks").seconds() > 0


# Differences


def test_differences_are_named_from_both_sides():
    here = {"python": "3.13.0", "diffusers": "0.42.1", "torch": "2.13.0", "cuda": "12.6"}
    there = {"python": "3.13.0", "diffusers": "0.41.0", "torch": "2.13.0", "cudnn": "9"}
    assert version_differences(here, there) == (
        "diffusers 0.42.1 here, 0.41.0 there",
        "cuda 12.6 here, absent there",
        "cudnn absent here, 9 there",
    )


def test_a_package_that_only_judges_is_no_difference():
    assert version_differences({"torchmetrics": "1.9.0"}, {}) == ()


def test_another_diffusers_draws_beside_this_one_and_is_all_that_differs(folder, tmp_path):
    try:
        python = build_other_environment(tmp_path / "env", diffusers=OTHER_DIFFUSERS)
    except NotInstalled as error:
        pytest.skip(f"pip cannot fetch diffusers {OTHER_DIFFUSERS}: {error}")
    there = OtherEnvironment(python, device="cpu", threads=torch.get_num_threads())
    try:
        found = version_differences(environment(CPU), there.environment)
        assert found == (f"diffusers {diffusers.__version__} here, {OTHER_DIFFUSERS} there",)
        baseline = open_there(there, folder, "precision/baseline", variants="looks.py")
        images = baseline.images(PROMPTS, SEEDS)
    finally:
        there.close()
    here = open_here(folder).generate(PROMPTS, SEEDS).images
    assert np.abs(images - here).max() < 1e-3


def test_nothing_of_this_sides_path_reaches_the_other(folder, tmp_path, monkeypatch):
    poison = tmp_path / "poison"
    (poison / "diffusers").mkdir(parents=True)
    (poison / "diffusers" / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    python = build_other_environment(tmp_path / "with some spaces", diffusers=None)
    monkeypatch.setenv("PYTHONPATH", str(poison))
    monkeypatch.chdir(poison)
    there = OtherEnvironment(python, device="cpu", threads=3)
    try:
        assert open_there(there, folder, "precision/looks", variants="looks.py").seconds() > 0
        assert there.environment["threads"] == "3"
    finally:
        there.close()


# Interpreters that will not do


def test_a_missing_interpreter_is_named(tmp_path):
    assert refused(tmp_path / "python").found == f"no file {tmp_path / 'python'}"


def test_a_folder_is_answered_with_the_interpreter_in_it(tmp_path):
    python = build_bare_environment(tmp_path / "env")
    assert refused(tmp_path / "env").do == f"give {python}"


def test_a_file_that_cannot_be_executed_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("not a program")
    assert "not executable" in refused(tmp_path / "notes.txt").found


@pytest.mark.parametrize("text", ["no program at all", "#!/bin/sh\necho hello", "#!/bin/sh\nfalse"])
def test_a_program_that_is_no_interpreter_is_refused(tmp_path, text):
    error = refused(script(tmp_path / "program", text))
    assert "no Python interpreter" in error.found
    assert "3.11 or later" in error.expected


def test_an_interpreter_without_the_packages_is_told_which(tmp_path):
    error = refused(build_bare_environment(tmp_path / "env"))
    assert error.found.endswith("lacks torch, diffusers, transformers, numpy")
    assert error.do == "install torch, diffusers, transformers, numpy there"


def test_an_older_python_is_refused_with_its_version(tmp_path):
    pretend = "import sys; sys.version_info = (3, 10, 4, 'final', 0); exec(sys.argv[3])"
    text = f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$@"\n'
    error = refused(script(tmp_path / "old", text))
    assert error.found.endswith("Python 3.10.4")
    assert "3.11 or later" in error.expected


def test_an_interpreter_that_prints_when_it_starts_is_refused(tmp_path):
    text = f'#!/bin/sh\necho welcome\nexec "{sys.executable}" "$@"\n'
    assert "prints when it starts: welcome" in refused(script(tmp_path / "chatty", text)).found


def test_another_host_is_refused_because_latencies_are_not_compared():
    assert "never compared" in refused("ssh=gpu.example//python=python3").do


# Faults of one case


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("killed", r"ended by signal 9 \(SIGKILL\).*timing precision/killed.*my last words"),
        ("exits", r"ended, status 3.*leaving"),
        ("faults", r"ended by signal 11 \(SIGSEGV\).*Segmentation fault"),
        ("forks", r"ended by signal 9 \(SIGKILL\).*my last words"),
    ],
)
def test_a_dying_worker_leaves_its_last_words_and_the_next_case_goes_on(opened, name, how):
    sampler = opened(name)
    with pytest.raises(LatentcyError) as caught:
        sampler.seconds()
    assert np.isfinite(opened("baseline").images(PROMPTS[:1], SEEDS[:1])).all()
    (line,) = (one for one in str(caught.value).splitlines() if one.startswith("found"))
    assert re.search(how, line), line


def test_a_worker_that_died_between_two_cases_is_started_anew(other, opened):
    before = other.pid
    os.kill(before, signal.SIGKILL)
    assert gone(before)
    assert opened("baseline").seconds() > 0


def test_a_worker_that_prints_gives_the_same_images(opened):
    quiet = opened("baseline").images(PROMPTS, SEEDS)
    assert np.array_equal(opened("shouts").images(PROMPTS, SEEDS), quiet)


@pytest.mark.parametrize(
    ("name", "told"), [("raises", "ValueError: too bright"), ("leaves", "Sys")]
)
def test_an_exception_there_is_told_with_its_type_and_the_environment(other, opened, name, told):
    sampler, before = opened(name), other.pid
    with pytest.raises(LatentcyError) as caught:
        sampler.seconds()
    assert told in caught.value.found
    assert other.python in caught.value.found
    assert sampler.seconds() > 0
    assert other.pid == before


def test_a_limit_that_runs_out_ends_the_worker(folder):
    there = OtherEnvironment(sys.executable, device="cpu", threads=1, limit_seconds=1.5)
    try:
        sampler, pid = open_there(there, folder, "precision/sleeps"), there.pid
        with pytest.raises(LatentcyError, match=r"no answer in 1\.5 s, timing precision/sleeps"):
            sampler.seconds()
        assert gone(pid)
        assert there.pid is None
    finally:
        there.close()


def test_an_interrupted_wait_ends_the_worker_so_that_no_late_answer_is_taken(other, opened):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    sampler, pid = opened("sleeps"), other.pid
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            sampler.seconds()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(pid)
    assert opened("baseline").images(PROMPTS[:1], SEEDS[:1]).shape == (1, 64, 64, 3)


def test_an_unknown_variant_keeps_the_three_parts_of_its_error(other, opened):
    with pytest.raises(LatentcyError) as caught:
        opened("baselin")
    assert caught.value.found == f"in {other.python}: a variant named 'precision/baselin'"
    assert caught.value.do == "did you mean 'precision/baseline'?"


def test_a_variants_file_that_does_not_import_there_fails_its_own_cases_only(folder, other):
    (folder / "broken.py").write_text("import nowhere_to_be_found\nVARIANTS = []\n")
    with pytest.raises(LatentcyError, match=r"broken.py, line 1: ModuleNotFoundError"):
        open_there(other, folder, "precision/mine", variants="broken.py")
    builtin = open_there(other, folder, "precision/baseline", variants="broken.py")
    assert builtin.seconds() > 0


# Nothing stays behind


def test_closing_ends_the_process(folder):
    there = OtherEnvironment(sys.executable, device="cpu", threads=1)
    pid = there.pid
    there.close()
    there.close()
    assert gone(pid)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_process_ends_with_the_one_that_started_it(ending):
    text = f"""
        import os, signal, sys
        from latentcy.remote.environment import OtherEnvironment
        print(OtherEnvironment(sys.executable, device="cpu", threads=1).pid, flush=True)
        {ending}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)], cwd=ROOT, capture_output=True, text=True
    )
    assert gone(int(done.stdout))
    assert "Traceback" not in done.stderr
