"""Another repository with the wheel installed: its own pipeline, its own tests, its own results."""

from __future__ import annotations

import json
import subprocess

import pytest

from installed import install_wheel
from tiny import build_tiny

pytestmark = pytest.mark.system

SETTINGS = """
[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
latentcy_model = "weights"
latentcy_variants = "mypipe.variants:VARIANTS"
latentcy_only = "mine"
latentcy_images = "3"
latentcy_minutes = "0"
"""

PIPELINE = """
import torch
from diffusers import StableDiffusionPipeline


class MyPipeline(StableDiffusionPipeline):
    pass


def load(folder, device, dtype):
    pipeline = MyPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), safety_checker=None, requires_safety_checker=False
    )
    return pipeline.to(device)
"""

# As long as README says that it is.
VARIANTS = """
from latentcy import Variant
from mypipe.pipeline import load

def build(target):
    return load(target.model, target.device, target.dtype)

VARIANTS = [
    Variant(
        "mine", "Our own loader.", steps=3, build=build, reference="mine", ssim_reference="mine"
    ),
]
"""

TESTS = """
import numpy as np
from fixtures import FOLDER
from latentcy import assert_deterministic, assert_no_slower, assert_not_black, assert_same_images
from mypipe.pipeline import load

CALL = {"num_inference_steps": 2, "height": 64, "width": 64}


def test_own():
    pipeline = load(FOLDER, "cpu", "float32")
    pipeline.set_progress_bar_config(disable=True)
    assert_deterministic(pipeline, "a red circle", **CALL)


def test_images(golden_images):
    images = np.random.default_rng(0).random((8, 32, 32, 3))
    assert_not_black(images)
    assert_same_images(images, images, like="float32")
    golden_images.check("noise", images[:2])


def test_speed():
    assert_no_slower(lambda: sum(range(9000)), lambda: sum(range(90000)))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with a package, a conftest and a `fixtures` package of its own."""
    root = tmp_path_factory.mktemp("foreign")
    build_tiny(root / "weights")
    written = {
        "pyproject.toml": SETTINGS,
        "conftest.py": "import fixtures\n",
        "src/fixtures/__init__.py": f"FOLDER = {str(root / 'weights' / 'pipeline')!r}\n",
        "src/mypipe/__init__.py": "",
        "src/mypipe/pipeline.py": PIPELINE,
        "src/mypipe/variants.py": VARIANTS,
        "tests/test_own.py": TESTS,
    }
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        who = ["-c", "user.name=n", "-c", "user.email=n@example.com"]
        subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True)
    return root


def test_plain_pytest_runs_its_own_tests_with_our_assertions(installed, repository):
    first = installed.pytest(repository, "-q")
    assert first.returncode == 1 and "--benchmark-record" in first.stdout, first.stdout
    assert installed.pytest(repository, "-q", "--benchmark-record").returncode == 0
    assert (repository / "tests" / "golden_images" / "test_own" / "noise-2.png").is_file()
    again = installed.pytest(repository, "-q")
    assert again.returncode == 0 and "3 passed" in again.stdout, again.stdout


def test_its_own_pipeline_is_judged_by_the_settings_of_its_ini_file(installed, repository):
    ran = installed.pytest(repository, "--benchmark", "-k", "black or latency or new_process")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = json.loads((repository / "latentcy-results" / "run.json").read_text())
    (record,) = run["records"]
    statuses = {one["gate"]: one["status"] for one in record["verdicts"]}
    assert (record["variant"], record["model"]) == ("mine", "weights")
    assert statuses["black images"] == "passed" and statuses["new process"] == "passed"
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=repository, capture_output=True, text=True, check=True)
    assert run["about"]["commit"] == commit.stdout.strip()


def test_the_command_that_reproduces_a_failure_works_there(installed, repository, tmp_path):
    black = tmp_path / "black.py"
    black.write_text(
        "from latentcy import Variant\n"
        "def blacken(pipeline):\n"
        "    pipeline.vae.post_quant_conv.weight.data.mul_(float('nan'))\n"
        "VARIANTS = [Variant('broken', 'Not finite.', steps=2, prepare=blacken,\n"
        "                    reference='broken', ssim_reference='broken')]\n"
    )
    ran = installed.pytest(
        repository,
        "--benchmark",
        f"--latentcy-variants={black}",
        "--latentcy-only=broken",
        "-k",
        "black",
    )
    assert ran.returncode == 1, ran.stdout
    (line,) = [one for one in ran.stdout.splitlines() if one.startswith("To run broken again: ")]
    words = line.removeprefix("To run broken again: pytest ").split()
    again = installed.pytest(repository, *words, "-k", "black")
    assert again.returncode == 1 and "black images failed" in again.stdout, again.stdout


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ("lambda target: None", "returned NoneType"),
        ("lambda target: 1 / 0", "raised ZeroDivisionError"),
    ],
)
def test_a_build_that_gives_no_pipeline_is_said_to_be_that(
    build, words, installed, repository, tmp_path
):
    file = tmp_path / "own.py"
    file.write_text(
        "from latentcy import Variant\n"
        f"VARIANTS = [Variant('own', 'None.', build={build}, reference='own',\n"
        "                    ssim_reference='own')]\n"
    )
    ran = installed.pytest(
        repository,
        "--benchmark",
        f"--latentcy-variants={file}",
        "--latentcy-only=own",
        "-k",
        "black",
    )
    assert ran.returncode == 1 and words in ran.stdout
    assert "loading failed" in ran.stdout and "black images failed" not in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_page_and_a_history_are_made_there(installed, repository):
    asked = ("--latentcy-report=page", "--latentcy-history=history.db")
    ran = installed.pytest(repository, "--benchmark", "-k", "black", *asked)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (repository / "page" / "report.html").is_file()
    show = ("-m", "latentcy", "history", "show", "--history", "history.db")
    assert installed.python(repository, *show).returncode == 0
