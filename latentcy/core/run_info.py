"""What a run is: when, of which commit, on which prompts; what every figure of it hangs on."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CHECKOUT = "LATENTCY_CHECKOUT"  # environment variable

# The branch under test, in GitHub's and GitLab's variables: of a pull or merge request first.
_BRANCHES = (
    "GITHUB_HEAD_REF",
    "GITHUB_REF_NAME",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
    "CI_COMMIT_REF_NAME",
)
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]*(@)")


@dataclass(frozen=True)
class About:
    """A run's identity.

    Attributes:
        id: unlike any other run's.
        started: UTC, ISO 8601.
        commit, branch: of the checkout from which it was started; None outside of one.
        command: the command line that made it.
        prompts: of the quality gates, image i from prompts[i].
        seeds: one for each of the prompts.
        interrupted: how far it came, where it did not come to its end; else "". It is on disk from
            the first record on, so that a run which was killed does not pass for a whole one.
    """

    id: str
    started: str
    commit: str | None = None
    branch: str | None = None
    command: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    interrupted: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> About:
        """Reads what `to_dict` wrote; raises KeyError or TypeError where something is missing."""
        texts: dict[str, Any] = {name: data[name] for name in ("id", "started", "commit", "branch")}
        lists = {name: tuple(data[name]) for name in ("command", "prompts", "seeds")}
        return cls(**(texts | lists), interrupted=str(data.get("interrupted") or ""))


def about_now(
    folder: Path,
    *,
    command: Sequence[str] = (),
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> About:
    """The identity of a run that starts now, from the checkout that `folder` lies in.

    Where the environment variable LATENTCY_CHECKOUT names a folder, that one is meant: what is
    under test, when the suite is started from its own folder. A service checks out commits without
    a branch, and names that in a variable of its own. Passwords in addresses are left out.
    """
    folder = Path(os.environ.get(CHECKOUT) or folder)
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    if branch == "HEAD":
        branch = next((os.environ[one] for one in _BRANCHES if os.environ.get(one)), None)
    return About(
        id=uuid.uuid4().hex,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_git(folder, "rev-parse", "HEAD"),
        branch=branch,
        command=tuple(_PASSWORD.sub(r"\1***\2", one) for one in command),
        prompts=tuple(prompts),
        seeds=tuple(seeds),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "-C", str(folder), *arguments]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
        return said.stdout.strip() or None
    return None
