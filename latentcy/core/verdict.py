"""What a gate says of a case. `inconclusive` is shown and counted, and is no pass."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """What a gate says: its name ("latency", "SSIM", "memory"); status; one sentence."""

    gate: str
    status: str  # "passed" | "failed" | "inconclusive"
    reason: str
