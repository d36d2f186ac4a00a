"""What users import: by the package's own name, and by the old path for one release."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import latentcy
from latentcy import assertions
from latentcy.pipelines import variants
from latentcy.pipelines.variants import load_variants

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", latentcy.__all__)
def test_what_users_need_is_in_the_package(name):
    home = assertions if name.startswith("assert_") else variants
    assert getattr(latentcy, name) is getattr(home, name)
    assert name in dir(latentcy)


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'Varient'"):
        latentcy.Varient  # noqa: B018


def test_the_package_imports_without_torch():
    code = "import latentcy, sys; assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_variants_file_of_old_imports_works_and_names_the_new(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from latentcy.generate.variants import Needs, Quality, Tolerance, Variant\n"
        "VARIANTS = [Variant('mine', 'Nothing.', needs=Needs())]\n"
    )
    sys.modules.pop("latentcy.generate.variants", None)
    with pytest.warns(DeprecationWarning, match="is now latentcy: from latentcy import Variant"):
        (mine,) = load_variants(file)
    assert type(mine) is latentcy.Variant


COMMANDS = sorted(
    {
        found
        for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for found in re.findall(r"python -m (latentcy[a-z_.]*)", file.read_text(encoding="utf-8"))
    }
)


@pytest.mark.system
@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_that_a_document_names_says_how_it_is_used(module):
    asked = [sys.executable, "-m", module, "--help"]
    ran = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"usage: python -m {module} ")
