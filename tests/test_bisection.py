"""Bisection: the commit at which a verdict turned is found, and ends that are none are refused."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path

import pytest

from latentcy.commands.bisect import find_turn
from latentcy.commands.bisect_step import BAD, GOOD, SKIP, answer
from latentcy.core.errors import LatentcyError
from tiny import build_tiny

pytestmark = pytest.mark.system

TURNED = 3  # of the commits 1 to 3

VARIANTS = textwrap.dedent(
    """
    from latentcy import Variant

    def prepare(pipeline):
        decode = pipeline.vae.decode
        def scaled(latents, *arguments, **settings):
            output = decode(latents, *arguments, **settings)
            return tuple(SCALE * part - (1 - SCALE) for part in output)
        pipeline.vae.decode = scaled

    SCALE = {scale}
    VARIANTS = [Variant("mine", "Commit {number}.", steps=2, reference="mine", prepare=prepare)]
    """
)


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Commits of a variants file; from one of them on its images are black."""
    folder = tmp_path_factory.mktemp("checkout")
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in range(1, 4):
        scale = 0.0 if number >= TURNED else 1.0
        (folder / "mine.py").write_text(VARIANTS.format(scale=scale, number=number))
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"commit {number}")
        git(folder, "tag", f"v{number}")
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory, checkout):
    tiny = build_tiny(tmp_path_factory.mktemp("tiny"))
    mine = (f"--variants={checkout / 'mine.py'}", "--no-builtin", f"--model={tiny}")
    return (*mine, "--images=1", "--pairs=0", "-k", "black")


def head(checkout):
    asked = ["git", "-C", checkout, "rev-parse", "--abbrev-ref", "HEAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_at_which_the_images_became_black_is_found(checkout, options):
    said = []
    found = find_turn(checkout, "v1", "v3", case="precision/mine", options=options, say=said.append)
    assert found.subject == f"commit {TURNED}"
    assert "black" in found.reason
    assert head(checkout) == "main"
    assert any(line.startswith("good: ") for line in said)


def test_an_end_that_is_not_what_it_is_said_to_be_is_refused(checkout, options):
    with pytest.raises(LatentcyError, match="v1, said to be bad, is not: good"):
        find_turn(checkout, "v1", "v1", case="precision/mine", options=options, say=print)
    assert head(checkout) == "main"


def test_uncommitted_work_is_never_moved(checkout):
    before = (checkout / "mine.py").read_text()
    (checkout / "mine.py").write_text(before + "# unsaved\n")
    try:
        with pytest.raises(LatentcyError, match=r"1 changed file"):
            find_turn(checkout, "v1", "v3", case="precision/mine")
    finally:
        (checkout / "mine.py").write_text(before)


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_what_is_no_checkout_is_refused(tmp_path, folder):
    with pytest.raises(LatentcyError, match="expected  a git checkout"):
        find_turn(Path(tmp_path) / folder, "v1", "v3", case="precision/mine")


def record(*verdicts):
    said = [{"gate": gate, "status": status, "reason": "why"} for gate, status in verdicts]
    return {"group": "precision", "variant": "mine", "verdicts": said}


@pytest.mark.parametrize(
    ("verdicts", "gate", "status", "expected"),
    [
        ((("speed", "passed"), ("SSIM", "passed")), "", 0, GOOD),
        ((("speed", "failed"), ("SSIM", "passed")), "", 1, BAD),
        ((("speed", "failed"), ("SSIM", "passed")), "SSIM", 1, GOOD),
        ((("speed", "inconclusive"),), "", 0, SKIP),
        ((("speed", "passed"),), "SSIM", 0, SKIP),
        ((), "", 0, SKIP),
        ((("speed", "passed"),), "", 4, SKIP),
    ],
)
def test_a_step_answers_by_the_verdicts(tmp_path, verdicts, gate, status, expected):
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"records": [record(*verdicts)]}))
    assert answer(run, "precision/mine", gate, status)[0] == expected


def test_a_step_without_a_run_skips_its_commit(tmp_path):
    assert answer(tmp_path / "run.json", "precision/mine", "", 1)[0] == SKIP
