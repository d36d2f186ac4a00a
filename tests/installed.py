"""The built wheel in a folder of its own: as others have it, with no clone beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from whole_run import ROOT


@dataclass(frozen=True)
class Installed:
    """A wheel, and the folder that it is installed in, which comes before any other on the path."""

    wheel: Path
    folder: Path

    def pytest(self, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`pytest ARGUMENTS` in a folder."""
        return self.python(where, "-m", "pytest", "-p", "no:cacheprovider", *arguments)

    def python(self, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS` in a folder."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        environment.pop("PYTEST_ADDOPTS", None)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def names(self) -> list[str]:
        """What the wheel holds."""
        return zipfile.ZipFile(self.wheel).namelist()


def install_wheel(folder: Path) -> Installed:
    """Builds this checkout's wheel and installs it, without what it depends on."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"  # a build leaves files beside its sources
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    built = [*pip, "wheel", "--no-deps", f"--wheel-dir={folder}", str(source)]
    subprocess.run(built, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
    return Installed(wheel, target)
