"""Another environment for tests: this one's packages, and another version of diffusers."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

OTHER_DIFFUSERS = "0.35.2"  # loads with transformers 4 and 5; takes torch_dtype, not dtype


class NotInstalled(Exception):
    """Pip could not install what the environment was to have; the text is pip's last line."""


def build_other_environment(folder: Path, diffusers: str | None = OTHER_DIFFUSERS) -> Path:
    """A virtual environment in `folder`; returns its python.

    It sees this environment's packages behind its own, of which it has this version of
    diffusers, or none. Raises NotInstalled where pip cannot fetch that.
    """
    python = build_bare_environment(folder)
    packages = _packages(python)
    if diffusers:
        install = ["install", "--quiet", "--no-deps", "--target", str(packages)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *install, f"diffusers=={diffusers}"],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NotInstalled(said[-1] if said else f"pip ended with {done.returncode}")
    here = [each for each in dict.fromkeys(sys.path) if each.endswith("-packages")]
    (packages / "behind.pth").write_text("".join(f"{each}\n" for each in here))
    return python


def build_bare_environment(folder: Path) -> Path:
    """A virtual environment with nothing in it, not even pip; returns its python."""
    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _packages(python: Path) -> Path:
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
