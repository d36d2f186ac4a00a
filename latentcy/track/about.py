"""What a run is: when, of which commit, on which prompts; what every figure of it hangs on."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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
    """

    id: str
    started: str
    commit: str | None = None
    branch: str | None = None
    command: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> About:
        """Reads what `to_dict` wrote; raises KeyError or TypeError where something is missing."""
        texts = {name: data[name] for name in ("id", "started", "commit", "branch")}
        lists = {name: tuple(data[name]) for name in ("command", "prompts", "seeds")}
        return cls(**texts, **lists)


def about_now(
    folder: Path,
    *,
    command: Sequence[str] = (),
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> About:
    """The identity of a run that starts now, from the checkout that `folder` lies in."""
    return About(
        id=uuid.uuid4().hex,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_git(folder, "rev-parse", "HEAD"),
        branch=_git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        command=tuple(command),
        prompts=tuple(prompts),
        seeds=tuple(seeds),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "-C", str(folder), *arguments]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
        return said.stdout.strip() or None
    return None
