"""From the text of an option, or of a line in an ini file, to its value.

Each takes the option's name for its message, and raises LatentcyError where the text is no such
value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentcy.core.errors import LatentcyError

Read = Callable[[str, str], Any]

_CORRECT = "correct it"


def text(name: str, given: str) -> str:
    """The text itself."""
    return given


def optional_text(name: str, given: str) -> str | None:
    """None where it is empty."""
    return given or None


def path(name: str, given: str) -> Path:
    """A file or folder; "~" is the home folder."""
    return Path(given).expanduser()


def optional_path(name: str, given: str) -> Path | None:
    """None where it is empty."""
    return Path(given).expanduser() if given else None


def names(name: str, given: str) -> tuple[str, ...] | None:
    """Names with commas between; None where there are none."""
    return tuple(one.strip() for one in given.split(",") if one.strip()) or None


def flag(name: str, given: str) -> bool:
    """ "true", "yes", "on" or "1", or their opposites; raises LatentcyError for another word."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False, "": False}
    if given.strip().lower() not in words:
        raise _wrong(name, given, "true or false")
    return words[given.strip().lower()]


def count(name: str, given: str) -> int:
    """A whole number of 0 or more."""
    if not (given.strip().isascii() and given.strip().isdigit()):
        raise _wrong(name, given, "a whole number of 0 or more")
    return int(given)


def optional_count(name: str, given: str) -> int | None:
    """None for 0."""
    return count(name, given) or None


def positive(name: str, given: str) -> int:
    """A whole number of 1 or more."""
    value = count(name, given)
    if not value:
        raise LatentcyError(found=f"--{name} 0", expected="1 or more", do="ask for more")
    return value


def pairs(name: str, given: str) -> int | None:
    """A number of pairs; None where they are to be timed until it is known."""
    if not given.strip():
        return None
    if given.strip().isascii() and given.strip().isdigit():
        return int(given)
    raise LatentcyError(
        found=f"--{name} {given}",
        expected="a whole number of 0 or more, or nothing to time until it is known",
        do="correct it, or leave it out",
    )


def fraction(name: str, given: str) -> float:
    """A number of 0 or more."""
    return _number(name, given, "a fraction of 0 or more, such as 0.10 for 10 %")


def seconds(name: str, given: str) -> float:
    """Seconds, 0 or more."""
    return _number(name, given, "seconds, 0 or more (0: no limit)")


def minutes(name: str, given: str) -> float | None:
    """Minutes, 0 or more; None where it is left to the model."""
    if not given.strip():
        return None
    return _number(name, given, "minutes, 0 or more (0: no limit), such as 5 or 0.5")


def shard(name: str, given: str) -> tuple[int, int]:
    """(k, n) of "K/N"."""
    match = re.fullmatch(r"(\d+)/(\d+)", given)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise _wrong(name, given, "K/N with K from 1 to N, such as 2/4")


def _number(name: str, given: str, expected: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise _wrong(name, given, expected)
    return value


def _wrong(name: str, given: str, expected: str) -> LatentcyError:
    return LatentcyError(found=f"--{name} {given}", expected=expected, do=_CORRECT)
