"""Where a set of weights is to be had."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """One set of weights: a folder or a hub id, a hub revision, a folder inside it."""

    location: str
    revision: str | None = None
    subfolder: str | None = None

    def __str__(self) -> str:
        """The location, then @revision and /subfolder where they are given."""
        revision = f"@{self.revision}" if self.revision else ""
        subfolder = f"/{self.subfolder}" if self.subfolder else ""
        return f"{self.location}{revision}{subfolder}"
