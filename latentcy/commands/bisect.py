"""`python -m latentcy bisect`: git bisect, with a case's verdict as its judge."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcy.commands import bisect_step as step
from latentcy.core.errors import LatentcyError

SUITE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class FirstBadCommit:
    """The first commit at which the case failed, and what the judge said of it."""

    commit: str
    subject: str
    reason: str


def find_turn(
    checkout: Path,
    good: str,
    bad: str,
    *,
    case: str,
    gate: str = "",
    options: Sequence[str] = (),
    suite: Path = SUITE,
    say: Callable[[str], None] = print,
) -> FirstBadCommit:
    """The first bad commit of a checkout, both ends tried first.

    Args:
        checkout: a git checkout that this interpreter imports (installed with `pip install -e`),
            with nothing uncommitted. It is back where it was afterwards.
        good, bad: revisions; the case passes at the one and fails at the other.
        case: "group/name".
        gate: the one gate to judge by; "" for all.
        options: further options of `pytest --benchmark`.
        suite: the folder whose perf_tests are run.

    Raises:
        LatentcyError: the checkout is none or not clean, a revision is unknown, an end is not what
            it is said to be, or git finds no single commit.
    """
    git = _Git(checkout)
    git.check_clean()
    ends = {name: git.commit(name) for name in (good, bad)}
    with tempfile.TemporaryDirectory() as place:
        judge = shutil.copy(step.__file__, Path(place) / "step.py")
        command = [sys.executable, str(judge), f"--suite={suite.resolve()}", f"--case={case}"]
        command += [f"--gate={gate}", "--", *options]
        home = git.head()
        try:
            answers = []
            for name, wanted in ((bad, step.BAD), (good, step.GOOD)):
                git.run("checkout", "--quiet", ends[name])
                answers.append(_check_end(command, checkout, name, wanted, say))
            git.run("bisect", "start", ends[bad], ends[good])
            said = git.stream("bisect", "run", *command, say=say)
        finally:
            git.run("bisect", "reset", check=False)
            git.run("checkout", "--quiet", home, check=False)
    return _turned(git, f"{answers[0]}\n{said}")


def add_command(commands: Any) -> None:
    """Adds `bisect` to argparse's subparsers; its `command` gives the exit status."""
    parser = commands.add_parser("bisect", help="find the commit at which a case's verdict turned")
    parser.add_argument("good", help="revision at which the case passes")
    parser.add_argument("bad", help="revision at which it fails")
    parser.add_argument("--case", required=True, help="GROUP/NAME, such as precision/fp16")
    parser.add_argument("--gate", default="", help="judge by this gate alone, such as speed")
    parser.add_argument("--checkout", type=Path, default=Path(), help="default: this folder")
    parser.add_argument("options", nargs="*", help="after --: options of pytest --benchmark")
    parser.set_defaults(command=_bisect)


def _bisect(asked: argparse.Namespace) -> int:
    found = find_turn(
        asked.checkout,
        asked.good,
        asked.bad,
        case=asked.case,
        gate=asked.gate,
        options=asked.options,
    )
    print(f"{asked.case} turned at {found.commit[:12]} ({found.subject}): {found.reason}")
    return 0


class _Git:
    """git in one checkout."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    def run(self, *arguments: str, check: bool = True) -> str:
        asked = ["git", "-C", str(self._checkout), *arguments]
        ran = subprocess.run(asked, capture_output=True, text=True, check=False)
        if check and ran.returncode:
            said = " ".join(ran.stderr.split())
            raise LatentcyError(
                found=f"git {arguments[0]} in {self._checkout} failed: {said}",
                expected="a git checkout in which every commit between the ends can be taken out",
                do="check --checkout and the revisions",
            )
        return ran.stdout.strip()

    def stream(self, *arguments: str, say: Callable[[str], None]) -> str:
        """The same, every line said as it comes; its exit status is left to the reader."""
        asked = ["git", "-C", str(self._checkout), *arguments]
        lines = []
        with subprocess.Popen(
            asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            for line in running.stdout or ():
                lines.append(line)
                if line.startswith(("good: ", "bad: ", "skip: ", "Bisecting: ", "[")):
                    say(line.rstrip())
        return "".join(lines)

    def check_clean(self) -> None:
        if dirty := self.run("status", "--porcelain", "--untracked-files=no"):
            raise LatentcyError(
                found=f"{len(dirty.splitlines())} changed file(s) in {self._checkout}",
                expected="a checkout with nothing uncommitted, since it will be moved",
                do="commit or stash them",
            )

    def commit(self, revision: str) -> str:
        return self.run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")

    def head(self) -> str:
        """The branch that is checked out, or the commit where there is none."""
        branch = self.run("rev-parse", "--abbrev-ref", "HEAD")
        return self.commit("HEAD") if branch == "HEAD" else branch


def _check_end(
    command: Sequence[str], checkout: Path, name: str, wanted: int, say: Callable[[str], None]
) -> str:
    """Tries one end, since git takes both on trust; gives the step's answer."""
    ran = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    said = (ran.stdout.strip().splitlines() or [ran.stderr.strip()])[-1]
    say(f"{name}: {said}")
    if ran.returncode != wanted:
        kind = {step.GOOD: "good", step.BAD: "bad"}[wanted]
        raise LatentcyError(
            found=f"{name}, said to be {kind}, is not: {said}",
            expected="a case that passes at the first revision and fails at the second",
            do="check the revisions, --case and --gate, and that this interpreter imports the "
            "checkout",
        )
    return said


def _turned(git: _Git, said: str) -> FirstBadCommit:
    """The first bad commit of what the steps said, that of the bad end first."""
    match = re.search(r"^([0-9a-f]{40}) is the first bad commit", said, re.MULTILINE)
    if not match:
        last = " ".join(said.split())[-300:]
        raise LatentcyError(
            found=f"no single commit: {last}",
            expected="one commit between the ends at which the verdict turned",
            do="try with --gate, or with more pairs, so that fewer commits are skipped",
        )
    reasons = re.findall(r"^bad: (.*)$", said, re.MULTILINE)
    subject = git.run("show", "--no-patch", "--format=%s", match[1])
    return FirstBadCommit(match[1], subject, reasons[-1])
