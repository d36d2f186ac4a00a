"""The commands for those who do not live in pytest, and what a missing extra says."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
from PIL import Image

from latentcy.__main__ import main
from latentcy.core.errors import LatentcyError
from latentcy.core.extras import EXTRAS, check_extra, missing_module
from whole_run import ROOT


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of the same eight pictures."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for number in range(8):
        levels = chance.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        for name in ("new", "old"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(levels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_equal_folders_pass(folders, capsys):
    assert main(["compare", "new", "old"]) == 0
    assert capsys.readouterr().out.startswith("PASSED: the median image differs by 0.00000")


def test_a_damaged_picture_fails_and_is_shown(folders, capsys):
    Image.new("RGB", (32, 32)).save(folders / "new" / "3.png")
    assert main(["compare", "new", "old", "--like=fp32"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("FAILED") and "as image 4" in said
    assert (folders / "latentcy-results" / "failed").is_dir() and "Pictures: " in said


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "new" / "3.png").unlink(), "only one folder has"),
        (lambda root: (root / "new" / "3.png").write_bytes(b""), "cannot be read"),
        (lambda root: (root / "new").rename(root / "away"), "no folder new"),
        (lambda root: Image.new("RGB", (8, 8)).save(root / "new" / "3.png"), "pixels"),
    ],
)
def test_folders_that_cannot_be_compared_are_refused(damage, words, folders, capsys):
    damage(folders)
    assert main(["compare", "new", "old"]) == 2
    assert words in capsys.readouterr().err


def test_the_script_is_the_module_s_main():
    (script,) = entry_points(group="console_scripts", name="latentcy")
    assert script.load() is main


@pytest.mark.system
def test_run_is_pytest_with_benchmark():
    asked = [sys.executable, "-m", "latentcy", "run", "--only=baselin", "-q"]
    ran = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "did you mean" in ran.stderr


def test_an_extra_that_is_not_installed_is_named(monkeypatch):
    for extra in set(EXTRAS.values()):
        check_extra(extra, "--report")
    monkeypatch.setitem(EXTRAS, "not_a_module_at_all", "report")
    with pytest.raises(LatentcyError, match=r"pip install 'latentcy\[report\]'"):
        check_extra("report", "--report")
    assert "which --history needs" in str(missing_module("sqlalchemy", "--history"))


@pytest.mark.parametrize(
    ("absent", "command", "extra"),
    [
        ("sqlalchemy", ["history", "show"], "history"),
        ("sqlalchemy", ["changes", "--last", "3"], "history"),
        ("plotly", ["report", "missing"], "report"),
    ],
)
def test_a_command_without_its_extra_says_so(absent, command, extra):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {absent!r}:\n"
        f"            raise ModuleNotFoundError(name, name={absent!r})\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from latentcy.__main__ import main\n"
        f"sys.exit(main({command!r}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert f"latentcy[{extra}]" in ran.stderr and "Traceback" not in ran.stderr
