"""The gate of memory: bytes of tensors against the reference's, the peak against stored ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.gates.stored_bounds import NONE_STORED, compare_memory, percent, why_unlike
from latentcy.store.baselines import StoredBaseline


def memory_verdict(
    peak_bytes: int | None,
    stored: StoredBaseline | None,
    tolerance: float,
    *,
    tensors: TensorMemory | None = None,
    fingerprint: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Verdict:
    """Is peak memory at most (1 + tolerance) times the largest stored for this device?

    And, where `tensors` are given, are they at most a quarter more than the reference's?
    """
    gate = "memory"
    if tensors is not None and not tensors.kept:
        meant = "where that is meant, the variant states memory_gated=False"
        return Verdict(gate, FAILED, f"{tensors.words}; {meant}")
    verdict = _stored_memory(peak_bytes, stored, tolerance, fingerprint, versions)
    if tensors is None or verdict.status == FAILED:
        return verdict
    return Verdict(gate, PASSED, f"{tensors.words}; {verdict.reason}")


@dataclass(frozen=True)
class TensorMemory:
    """Bytes of tensors that a case and its reference held at once, at the most."""

    bytes: int
    reference_bytes: int
    reference: str  # its name

    @property
    def kept(self) -> bool:
        """At most `MORE_TENSORS` more than the reference's."""
        return self.bytes <= self.reference_bytes * (1 + MORE_TENSORS)

    @property
    def words(self) -> str:
        """Both figures and what is allowed."""
        mib = 2**20
        return (
            f"tensors of {self.bytes / mib:.1f} MiB at the most against "
            f"{self.reference_bytes / mib:.1f} MiB of {self.reference} "
            f"({percent(MORE_TENSORS)} more allowed)"
        )


# Above what fusing or caching costs on the miniature (15 % at the most, by test_tensors.py's
# count), and below a second copy of any large part.
MORE_TENSORS = 0.25


def _stored_memory(
    peak_bytes: int | None,
    stored: StoredBaseline | None,
    tolerance: float,
    fingerprint: Mapping[str, str] | None,
    versions: Mapping[str, str] | None,
) -> Verdict:
    gate = "memory"
    if peak_bytes is None:
        return Verdict(gate, INCONCLUSIVE, "peak memory cannot be read here")
    if not (math.isfinite(peak_bytes) and peak_bytes > 0):
        return Verdict(gate, FAILED, f"the peak is {peak_bytes} bytes, which is no memory")
    # Memory is read with the case alone, however it is timed afterwards.
    unlike = why_unlike(stored, fingerprint, leaving=("timing",)) if stored is not None else None
    if unlike:
        return Verdict(gate, INCONCLUSIVE, unlike)
    held = compare_memory(peak_bytes, stored, tolerance, versions=versions) if stored else None
    if held is None:
        return Verdict(gate, INCONCLUSIVE, NONE_STORED)
    return Verdict(gate, PASSED if held.kept else FAILED, held.words)
