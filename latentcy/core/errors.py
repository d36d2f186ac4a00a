"""The one error a user sees: what was found, what was expected, what to do."""

from __future__ import annotations


class LatentcyError(Exception):
    """A failure that the user can act on; its text has three labelled lines."""

    def __init__(self, *, found: str, expected: str, do: str) -> None:
        self.found = found
        self.expected = expected
        self.do = do
        super().__init__(f"found     {found}\nexpected  {expected}\ndo        {do}")


class NotLoadedError(LatentcyError):
    """A case whose pipeline could not be had; what it would have drawn is not known."""


class UnsuitableError(LatentcyError):
    """Something of ours that this pipeline cannot have, which is nobody's fault.

    Attributes:
        reason: why, in one clause.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            found=reason,
            expected="a pipeline that it suits",
            do="leave it out here",
        )
