"""An option may name a path outside the repository, in either spelling."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tiny import build_tiny
from whole_run import ROOT

pytestmark = pytest.mark.system


@pytest.mark.skipif(
    "latentcy-rootdir" not in entry_points(group="pytest11").names,
    reason="needs the installed entry point: pip install -e .",
)
def test_a_model_folder_elsewhere_can_follow_its_option_after_a_space(tmp_path):
    model = build_tiny(tmp_path / "tiny")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark"]
    command += ["--model", str(model), "--results", str(tmp_path / "results")]
    ran = subprocess.run(
        [*command, "--collect-only", "-q"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "perf_tests/test_latency.py::test_latency[precision-baseline]" in ran.stdout
