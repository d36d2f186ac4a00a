"""Numbers and texts as the page shows them; whatever a file holds becomes short, plain text."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TypeGuard

from latentcy.core.record import Record

LONGEST = 20_000  # characters of one text
NONE = "–"


def seconds(value: object) -> str:
    """ "41.2 ms" below 0.1 s, "0.544 s" from there."""
    if not sound(value):
        return odd(value)
    if value < 0.1:
        return f"{value * 1000:.2f} ms" if value < 0.01 else f"{value * 1000:.1f} ms"
    return f"{value:.3f} s" if value < 100 else f"{value:.0f} s"


def size(count: object) -> str:
    """Bytes as MiB or GiB."""
    if not sound(count):
        return odd(count)
    if count < 10000 * 2**20:
        return f"{count / 2**20:.0f} MiB" if count >= 10 * 2**20 else f"{count / 2**20:.1f} MiB"
    return f"{count / 2**30:.1f} GiB"


def number(value: object, pattern: str = "{:.4g}") -> str:
    """The number by `pattern`; "NaN" and "inf" by name, a dash for what was not measured."""
    return pattern.format(value) if sound(value) else odd(value)


def odd(value: object) -> str:
    """What stands where there is no finite number."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return NONE


def sound(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def clip(value: object, longest: int = LONGEST) -> str:
    """Text that is cut where it is longer than a page can show, and says so."""
    text = value if isinstance(value, str) else str(value)
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} characters more in run.json)"


def short(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def for_plot(text: str) -> str:
    """Text for plotly, which reads tags and entities."""
    return html.escape(text, quote=False)


def labels(records: Sequence[Record]) -> tuple[str, ...]:
    """ "precision/fp16" for each record; the whole id where two would be named alike."""
    plain = [f"{one.group}/{one.variant}" for one in records]
    return tuple(
        clip(name if plain.count(name) == 1 else one.case, 200)
        for name, one in zip(plain, records, strict=True)
    )
