"""The plugin: what a repository has of it, and what each message of it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentcy.core.errors import LatentcyError
from latentcy.core.settings import OPTIONS, Settings
from whole_run import ROOT

PLAIN = "def test_plain():\n    pass\n"


def collected(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `pytest --benchmark --collect-only ARGUMENTS` says in a folder."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"]
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_s_default_is_its_setting_s(option):
    assert option.value(option.default) == getattr(Settings(), option.setting)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("images", "-1"),
        ("images", "many"),
        ("batch", "0"),
        ("pairs", "-3"),
        ("minutes", "nan"),
        ("budget", "-1"),
        ("speed-tolerance", "a lot"),
        ("shard", "3/2"),
        ("isolate", "perhaps"),
    ],
)
def test_a_text_that_is_no_value_is_refused_with_its_option(name, text):
    option = next(one for one in OPTIONS if one.name == name)
    with pytest.raises(LatentcyError) as refused:
        option.value(text)
    assert f"--{name} {text}" in refused.value.found and refused.value.expected


@pytest.mark.system
def test_a_folder_elsewhere_after_a_space_is_refused_with_the_right_spelling(tmp_path):
    ran = collected(ROOT, "--benchmark", "--model", str(tmp_path))
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"write --model={tmp_path}" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.system
def test_another_repository_has_the_promises_by_their_long_options(tmp_path):
    (tmp_path / "test_plain.py").write_text(PLAIN)
    ran = collected(tmp_path, "--benchmark", "--latentcy-only=fp32-sdpa,baseline")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR and "fp32-sdpa" in ran.stderr
    ran = collected(tmp_path, "--benchmark", "--latentcy-only=baseline")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "test_latency[precision-baseline]" in ran.stdout
    assert "test_plain" not in ran.stdout


@pytest.mark.system
def test_a_message_names_options_as_the_repository_knows_them(tmp_path):
    ran = collected(tmp_path, "--benchmark", "--latentcy-pairs=many")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--latentcy-pairs many" in ran.stderr
    assert "--pairs many" in collected(ROOT, "--benchmark", "--pairs=many").stderr


@pytest.mark.system
def test_a_setting_that_does_not_exist_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nlatentcy_modell = miniature\n")
    ran = collected(tmp_path, "--benchmark")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "latentcy_modell" in ran.stderr and "did you mean latentcy_model?" in ran.stderr


@pytest.mark.system
def test_an_option_of_another_plugin_stays_that_plugin_s(tmp_path):
    (tmp_path / "other.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--device', default='phone')\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-p", "other", "-p", "no:cacheprovider"]
    asked = ["--benchmark", "--collect-only", "--only=baseline", "--device=tablet"]
    ran = subprocess.run(
        [*command, *asked],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "--device is another plugin's here; ours is --latentcy-device" in ran.stdout


@pytest.mark.system
def test_without_pytest_benchmark_there_is_one_message(tmp_path):
    ran = collected(tmp_path, "--benchmark", "-p", "no:benchmark")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "leave -p no:benchmark out" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.system
def test_a_plain_pytest_runs_its_own_tests_without_torch(tmp_path):
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\ndef test_plain():\n"
        "    assert not {'torch', 'diffusers', 'scipy', 'numpy'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.system
def test_a_repository_with_a_fixtures_package_of_its_own_is_left_alone(tmp_path):
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "__init__.py").write_text("OWN = 1\n")
    (tmp_path / "conftest.py").write_text("from fixtures import OWN\n")
    (tmp_path / "test_plain.py").write_text(PLAIN)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    ran = collected(tmp_path, "--benchmark", "--latentcy-only=baseline")
    assert ran.returncode == 0, ran.stdout + ran.stderr
