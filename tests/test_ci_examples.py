"""The action and the worked examples, run as their services would run them, on a small model."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
import yaml

from tiny import build_tiny

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GITHUB = yaml.safe_load((ROOT / "examples" / "github-gate.yml").read_text())
GITLAB = yaml.safe_load((ROOT / "examples" / "gitlab-ci.yml").read_text())

PACKAGE = """
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "mypipe"
version = "1.0"

[tool.setuptools]
py-modules = ["mypipe"]
"""
VARIANTS = """
import mypipe
from latentcy import Variant

SHORT = {"reference": "own", "ssim_reference": "own", "steps": 4}
VARIANTS = [
    Variant("own", "What diffusers does.", **SHORT),
    Variant("mine", "What mypipe does.", prepare=mypipe.prepare, **SHORT),
]
"""
HEALTHY = "def prepare(pipeline):\n    pass\n"
BROKEN = textwrap.dedent(
    """
    def prepare(pipeline):
        decode = pipeline.vae.decode
        pipeline.vae.decode = lambda *a, **k: tuple(part.flip(-1) for part in decode(*a, **k))
    """
)


def bash(script, folder, environment):
    ran = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main")
    ran = subprocess.run(
        ["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A user's repository: its base is healthy, its head mirrors every image."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet")
    (folder / "pyproject.toml").write_text(PACKAGE)
    (folder / "variants.py").write_text(VARIANTS)
    (folder / "mypipe.py").write_text(HEALTHY)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "healthy")
    (folder / "mypipe.py").write_text(BROKEN)
    git(folder, "commit", "--quiet", "-am", "broken")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of the runner: its python3 makes environments that see what is installed here."""
    folder = tmp_path_factory.mktemp("bin")
    shim = folder / "python3"
    site = sysconfig.get_path("purelib")
    shim.write_text(
        "#!/usr/bin/env bash\nset -e\n"
        f'{shlex.quote(sys.executable)} "$@"\n'
        'if [ "$1 $2" = "-m venv" ]; then\n'
        '  for place in "$3"/lib/python*/site-packages; do\n'
        f'    echo {shlex.quote(site)} > "$place/runner.pth"\n'
        "  done\n"
        "fi\n"
    )
    shim.chmod(0o755)
    tiny = build_tiny(tmp_path_factory.mktemp("tiny"))
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "TINY": str(tiny),
        "LATENTCY_INSTALL": "--no-deps",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture(scope="module")
def gated(repository, environment):
    """The pull request: its two environments made by the example's own step, then the gate."""
    steps = GITHUB["jobs"]["gate"]["steps"]
    environments = next(step for step in steps if "run" in step)
    base = git(repository, "rev-parse", "HEAD~1")
    status, said = bash(environments["run"], repository, environment | {"BASE": base})
    assert status == 0, said
    used = next(step["with"] for step in steps if "latentcy" in step.get("uses", ""))
    summary = repository / "step-summary.md"
    inputs = {name: one["default"] for name, one in ACTION["inputs"].items()} | used
    inputs["options"] = inputs["options"].replace("--model sd15", f"--model {environment['TINY']}")
    inputs["options"] = inputs["options"].replace("${{ github.workspace }}", str(repository))
    inputs["options"] += " --images 2 --pairs 7 --only mine,own"
    inputs["options"] += " -k 'black or ssim or latency or speed'"
    inputs["install"] = "--no-deps"
    step = ACTION["runs"]["steps"][0]
    given = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], value)
        for name, value in step["env"].items()
    }
    github = {
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_ACTIONS": "true",
    }
    status, said = bash(step["run"], repository, environment | given | github)
    return status, said, repository / "latentcy-results", summary


def test_a_pull_request_that_breaks_the_images_is_stopped(gated):
    status, said, results, _ = gated
    assert status == 1, said
    records = json.loads((results / "run.json").read_text())["records"]
    failed = {
        one["variant"]: {each["gate"] for each in one["verdicts"] if each["status"] == "failed"}
        for one in records
    }
    assert "SSIM" in failed["mine"]
    assert not failed["own"]
    assert "::error title=precision/mine%3A SSIM::" in said


def test_the_job_summary_explains_itself(gated):
    text = gated[3].read_text()
    assert text.splitlines()[2].startswith("FAILED")
    assert "**SSIM**" in text and "Run it again: `pytest --benchmark --latentcy-case=" in text


def test_everything_that_is_uploaded_is_there(gated):
    results = gated[2]
    assert (results / "report" / "report.html").stat().st_size > 1000
    assert "<testcase" in (results / "junit.xml").read_text()
    assert json.loads((results / "benchmark.json").read_text())["benchmarks"]
    upload = ACTION["runs"]["steps"][1]
    assert upload["with"]["path"] == "${{ inputs.out }}" and "always()" in upload["if"]


def test_gitlab_runs_the_same_gate_on_the_same_environments():
    job = {**GITLAB[".latentcy"], **GITLAB["latentcy"]}
    job["variables"] = {**GITLAB[".latentcy"]["variables"], **GITLAB["latentcy"]["variables"]}
    assert job["script"][-1] == "latentcy/.ci/gate"
    here, base = (job["variables"][f"LATENTCY_{name}"] for name in ("PYTHON", "AGAINST"))
    made = " ".join(job["script"])
    for python in (here, base):
        assert f"python3 -m venv {python.removesuffix('/bin/python')}" in made
    assert job["artifacts"]["reports"]["junit"] == "latentcy-results/junit.xml"


def test_a_runner_that_keeps_its_checkout_makes_the_environments_again(gated, repository):
    script = next(step["run"] for step in GITHUB["jobs"]["gate"]["steps"] if "run" in step)
    git(repository, "clean", "-ffdxq", "-e", "latentcy-results", "-e", "step-summary.md")
    again = script.split("python3")[0]
    status, said = bash(again, repository, {"BASE": git(repository, "rev-parse", "HEAD~1")})
    assert status == 0, said


def test_a_run_is_recorded_under_the_commit_of_the_repository_under_test(gated, repository):
    about = json.loads((gated[2] / "run.json").read_text())["about"]
    assert about["commit"] == git(repository, "rev-parse", "HEAD")


def test_the_main_branch_keeps_baselines_and_history_even_of_a_run_that_failed(tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "remote")
    git(tmp_path, "clone", "--quiet", "remote", "here")
    here = tmp_path / "here"
    git(here, "commit", "--quiet", "--allow-empty", "-m", "first")
    git(here, "push", "--quiet", "--set-upstream", "origin", "HEAD")
    keep = GITHUB["jobs"]["record"]["steps"][-1]
    (here / "baselines").mkdir()
    for passed, kept in (("false", {"latentcy-history.db"}), ("true", {"baselines/one.json"})):
        (here / "baselines" / "one.json").write_text("{}")
        (here / "latentcy-history.db").write_text("a history")
        status, said = bash(keep["run"], here, {"PASSED": passed})
        assert status == 0, said
        changed = git(tmp_path / "remote", "show", "--format=", "--name-only", "HEAD").split()
        assert set(changed) == kept
    assert bash(keep["run"], here, {"PASSED": "true"})[0] == 0  # nothing new


def test_gitlab_keeps_them_too_and_ends_with_the_gate_s_status(tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "remote")
    git(tmp_path, "clone", "--quiet", "remote", "here")
    here = tmp_path / "here"
    gate = here / "latentcy" / ".ci" / "gate"
    gate.parent.mkdir(parents=True)
    gate.write_text(
        "#!/bin/sh\nmkdir -p baselines; echo > baselines/a; echo > latentcy-history.db\nexit 1\n"
    )
    gate.chmod(0o755)
    address = "https://latentcy:token@gitlab.example/group/project.git"
    git(here, "config", f"url.{tmp_path / 'remote'}.insteadOf", address)
    git(tmp_path / "remote", "config", "receive.advertisePushOptions", "true")
    variables = {
        "LATENTCY_TOKEN": "token",
        "CI_SERVER_HOST": "gitlab.example",
        "CI_PROJECT_PATH": "group/project",
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_SHORT_SHA": "abc",
    }
    script = "\n".join(GITLAB["latentcy-record"]["script"][1:])
    status, said = bash(script, here, variables)
    assert status == 1, said
    changed = git(tmp_path / "remote", "show", "--format=", "--name-only", "main").split()
    assert changed == ["latentcy-history.db"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--model sd15\n  --images 2", ["--model", "sd15", "--images", "2"]),
        ("--variants '/my place/a b.py'", ["--variants=/my place/a b.py"]),
        ("$(touch hacked) `touch hacked`", ["$(touch", "hacked)", "`touch", "hacked`"]),
    ],
)
def test_options_are_words_as_in_a_shell_and_are_never_run(tmp_path, options, expected):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec {shlex.quote(sys.executable)} "$@"; fi\n'
        f'if [ "$2" = pytest ]; then printf "%s\\n" "$@" > {tmp_path}/given; {ENDED}; fi\n'
    )
    python.chmod(0o755)
    out = tmp_path / "out"
    given = {
        "LATENTCY_PYTHON": str(python),
        "LATENTCY_OPTIONS": options,
        "LATENTCY_OUT": str(out),
        "ENDED": str(out / "run.json"),
    }
    status, said = bash(str(ROOT / ".ci" / "gate"), tmp_path, given)
    assert status == 0, said
    assert (tmp_path / "given").read_text().splitlines()[-len(expected) :] == expected
    assert not (tmp_path / "hacked").exists() and not (ROOT / "hacked").exists()


# What a run that came to its end leaves in the gate's folder.
ENDED = """echo '{"about": {"interrupted": ""}}' > "$ENDED\""""


@pytest.mark.parametrize(
    ("left", "status"),
    [
        ('{"about": {"interrupted": ""}}', 0),
        ('{"about": {"interrupted": "it was ended before it could say"}}', 1),
        ('{"about": null}', 1),
        ("{", 1),
        (None, 1),
    ],
)
def test_a_process_that_ends_well_before_its_run_does_is_no_pass(tmp_path, left, status):
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text('{"about": {"interrupted": ""}}')  # of an earlier run
    (tmp_path / "left.json").write_text(left or "")
    copies = f"cp {tmp_path / 'left.json'} {out / 'run.json'}" if left is not None else ":"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec {shlex.quote(sys.executable)} "$@"; fi\n'
        f'if [ "$2" = pytest ]; then {copies}; fi\n'
    )
    python.chmod(0o755)
    given = {"LATENTCY_PYTHON": str(python), "LATENTCY_OUT": str(out)}
    ended, said = bash(str(ROOT / ".ci" / "gate"), tmp_path, given)
    assert ended == status, said
    assert ("found     a run that did not come to its end" in said) is bool(status)


def test_a_quote_that_is_not_closed_is_said(tmp_path):
    status, said = bash(str(ROOT / ".ci" / "gate"), tmp_path, {"LATENTCY_OPTIONS": "--model 'x"})
    assert status == 4 and "every quote closed" in said


@pytest.mark.parametrize("name", ["LATENTCY_PYTHON", "LATENTCY_AGAINST"])
def test_an_interpreter_that_is_not_there_is_said(tmp_path, name):
    status, said = bash(str(ROOT / ".ci" / "gate"), tmp_path, {name: "/no/such/python"})
    assert status == 4
    assert "found     no interpreter /no/such/python" in said and name in said
