"""The gate of black images: none black, flat, or born of what is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict

if TYPE_CHECKING:
    from latentcy.measure.diagnosis.investigation import Findings
    from latentcy.measure.diagnosis.overflow_origin import OverflowOrigin
    from latentcy.measure.images.health import ImageHealth


def image_verdict(
    healths: Sequence[ImageHealth], findings: Findings | OverflowOrigin | None = None
) -> Verdict:
    """Is every image sound? Where not, say why, and what a second run with hooks has found.

    One that the safety checker flagged and left as it was passes, and the reason says so.
    """
    gate = "black images"
    if not healths:
        return Verdict(gate, INCONCLUSIVE, "no image was looked at")
    broken = [health for health in healths if not health.ok]
    if not broken:
        flagged = sum(health.flagged for health in healths)
        though = f"; {flagged} flagged as NSFW, though sound and not blacked" if flagged else ""
        reason = f"{len(healths)} images, none black, flat or non-finite{though}"
        return Verdict(gate, PASSED, reason)
    reasons = [health.reason for health in broken]
    told = []
    for reason in dict.fromkeys(reasons):
        first = broken[reasons.index(reason)]
        where = f", as image {(first.index or 0) + 1}: {first.detail}" if first.detail else ""
        told.append(f"{reason} ({reasons.count(reason)}){where}")
    cause = f"; {findings.sentence}" if findings is not None else ""
    found = f"{len(broken)} of {len(healths)} images: {', '.join(told)}"
    return Verdict(gate, FAILED, found + cause)
