"""Where the folders stand that are mapped into the package: weights, prompts, promises, tables.

In a clone they are top-level folders, where people look for them; installed they are parts of the
package. Nothing in them is imported here, so that an environment without pytest finds its weights.
"""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path


def package_folder(name: str) -> Path:
    """The folder of `latentcy.NAME`: "fixtures", "perf_tests" or "baselines".

    A checkout's own come first: it may be on the path alone, and another one installed. Whether
    the folder is there at all is for its reader to say.
    """
    package = files("latentcy")
    assert isinstance(package, Path), package
    checkout = package.parent
    if not (checkout / "pyproject.toml").is_file():
        spec = importlib.util.find_spec(f"latentcy.{name}")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            return Path(place)
    return checkout / name


MINIATURE_FOLDER = package_folder("fixtures") / "miniature"
PROMPTS_FOLDER = package_folder("fixtures") / "prompts"
PERF_TESTS = package_folder("perf_tests")
BASELINES_FOLDER = package_folder("baselines")
