"""Failed verdicts as annotations that GitHub Actions shows beside a change."""

from __future__ import annotations

from collections.abc import Sequence

from latentcy.core.record import Record
from latentcy.core.verdict import FAILED


def github_annotations(records: Sequence[Record]) -> tuple[str, ...]:
    """One workflow command a failed gate: an error, or a notice for a known-bad control.

    Source: GitHub's documentation, "Workflow commands for GitHub Actions".
    """
    lines = []
    for record in records:
        kind = "notice" if record.control else "error"
        for verdict in record.verdicts:
            if verdict.status == FAILED:
                title = _property(f"{record.group}/{record.variant}: {verdict.gate}")
                lines.append(f"::{kind} title={title}::{_data(verdict.reason)}")
    return tuple(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
