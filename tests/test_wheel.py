"""The wheel: one package with all of its data, which runs the main job in an empty folder."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from installed import install_wheel
from whole_run import ROOT

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_wheel(tmp_path_factory.mktemp("wheel"))


def test_it_installs_latentcy_and_nothing_else(installed):
    top = {name.split("/")[0] for name in installed.names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"latentcy"}


def test_it_holds_every_module_and_data_file_of_the_checkout(installed):
    tracked = subprocess.run(
        ["git", "ls-files", "latentcy", "fixtures", "perf_tests", "baselines"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    held = {name if name.startswith("latentcy/") else f"latentcy/{name}" for name in tracked}
    assert len(held) > 200
    assert held <= set(installed.names)


def test_it_runs_the_main_job_in_an_empty_folder(installed, tmp_path):
    short = (
        "--latentcy-only=precision/baseline",
        "--latentcy-images=2",
        "--latentcy-image-steps=2",
    )
    ran = installed.pytest(tmp_path, "--benchmark", *short, "-k", "black or stored or latency")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    run = json.loads((tmp_path / "latentcy-results" / "run.json").read_text())
    (record,) = run["records"]
    assert record["model"] == "miniature"
    assert {"black images", "latency"} <= {one["gate"] for one in record["verdicts"]}
    assert "PASSED" in ran.stdout


def test_without_its_data_it_says_so_in_one_message(installed, tmp_path):
    shutil.copytree(installed.folder, tmp_path / "site")
    shutil.rmtree(tmp_path / "site" / "latentcy" / "fixtures" / "miniature")
    ran = type(installed)(installed.wheel, tmp_path / "site").pytest(tmp_path, "--benchmark")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "install latentcy again" in ran.stderr and "Traceback" not in ran.stderr


def test_its_commands_start(installed, tmp_path):
    ran = installed.python(tmp_path, "-m", "latentcy", "report", "nothing")
    assert ran.returncode == 2 and "found" in ran.stderr
