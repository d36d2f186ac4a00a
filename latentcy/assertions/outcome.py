"""From a verdict to what a test does: fail with its sentence, or warn where nothing is known."""

from __future__ import annotations

import warnings

from latentcy.core.verdict import FAILED, INCONCLUSIVE, Verdict

__tracebackhide__ = True  # pytest shows the line of the test


class InconclusiveWarning(UserWarning):
    """An assertion that could be neither kept nor broken by what was seen."""


def hold(verdict: Verdict, *, strict: bool = False, more: str = "") -> Verdict:
    """The verdict, where it did not fail; what is not known is a warning.

    Args:
        verdict: what was found.
        strict: whether what is not known fails, too.
        more: lines for the failure's message.

    Raises:
        AssertionError: it failed, with its reason.
    """
    if verdict.status == FAILED or (strict and verdict.status == INCONCLUSIVE):
        raise AssertionError(f"{verdict.gate} {verdict.status}: {verdict.reason}{more}")
    if verdict.status == INCONCLUSIVE:
        text = f"{verdict.gate} inconclusive: {verdict.reason}"
        warnings.warn(text, InconclusiveWarning, stacklevel=3)
    return verdict
