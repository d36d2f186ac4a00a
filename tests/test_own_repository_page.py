"""The page for other repositories: its examples are run, and its table holds to the limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latentcy.assertions.golden_images import GoldenImages
from latentcy.gates.tolerances import SAME_IMAGES

PAGE = (Path(__file__).parents[1] / "docs" / "own-repository.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["assertions", "golden", "variants"])
def test_an_example_of_the_page_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(f"import numpy as np\n{example}", "own-repository.md", "exec"), names)
    for test in [one for name, one in names.items() if name.startswith("test_")]:
        test(GoldenImages(tmp_path, record=True))
        test(GoldenImages(tmp_path, record=False))
    for variant in names.get("VARIANTS", ()):
        assert variant.build is not None


def test_healthy_images_of_the_table_are_well_within_the_limits():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.endswith("of 200 |")
    ]
    assert len(rows) == 15
    for change, like, median, ssim, brightness, failed in rows:
        limits = SAME_IMAGES[like]
        kept = (
            float(median) <= limits.rms
            and float(ssim) >= limits.ssim
            and abs(float(brightness.rstrip(" %"))) / 100 <= limits.brightness
        )
        assert failed == ("0 of 200" if kept else "200 of 200"), change
