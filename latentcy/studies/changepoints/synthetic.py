"""Series of which it is known where they change, for measuring the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RUNS = 200
NOISE = 0.015  # standard deviation, as a share of the level
STEP = 0.03

_MARGIN = 20  # runs from either end that a step keeps


@dataclass(frozen=True)
class LabelledSeries:
    """A series, float [n] around 1, and the first runs after its changes."""

    values: np.ndarray
    places: tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of series; `made` takes a source of random numbers."""

    name: str
    made: Callable[[np.random.Generator], LabelledSeries]


def series(kind: Kind, count: int) -> list[LabelledSeries]:
    """The first `count` series of a kind, always the same."""
    return [kind.made(np.random.default_rng([number, 20260131])) for number in range(count)]


def late_step(share: float, runs_after: int) -> Kind:
    """A step so many runs before the end."""

    def made(rng: np.random.Generator) -> LabelledSeries:
        return _stepped(_noise(rng), (RUNS - runs_after,), share)

    return Kind(f"{share:.0%} step, {runs_after} runs before the end", made)


def _noise(rng: np.random.Generator, correlation: float = 0.0) -> np.ndarray:
    """Normal noise; each number takes up a share of the one before (AR(1))."""
    drawn = rng.normal(size=RUNS + 50)
    noise = np.zeros_like(drawn)
    for place in range(1, drawn.size):
        noise[place] = correlation * noise[place - 1] + drawn[place]
    return NOISE * noise[50:] * np.sqrt(1 - correlation**2)


def _heavy(rng: np.random.Generator) -> np.ndarray:
    """Student's t with 3 degrees of freedom, of the same standard deviation."""
    return NOISE * rng.standard_t(3, size=RUNS) / np.sqrt(3)


def _stepped(noise: np.ndarray, places: tuple[int, ...], share: float = STEP) -> LabelledSeries:
    """Up at the first place, down at the second."""
    level = np.ones(RUNS)
    for number, place in enumerate(places):
        level[place:] = 1 + share * ((number + 1) % 2)
    return LabelledSeries(level * (1 + noise), places)


def _spiked(rng: np.random.Generator, known: LabelledSeries) -> LabelledSeries:
    """5 % of the numbers times 1.2."""
    return LabelledSeries(np.where(rng.random(RUNS) < 0.05, 1.2, 1.0) * known.values, known.places)


def _somewhere(rng: np.random.Generator) -> tuple[int]:
    return (int(rng.integers(_MARGIN, RUNS - _MARGIN + 1)),)


def _up_and_down(rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(_MARGIN, RUNS - _MARGIN - 40 + 1))
    return first, first + 40


def _drift(rng: np.random.Generator) -> LabelledSeries:
    return LabelledSeries(np.linspace(1, 1.05, RUNS) * (1 + _noise(rng)), ())


KINDS = (
    Kind("no change", lambda rng: _stepped(_noise(rng), ())),
    Kind("no change, 5 % of runs x1.2", lambda rng: _spiked(rng, _stepped(_noise(rng), ()))),
    Kind("no change, heavy tails", lambda rng: _stepped(_heavy(rng), ())),
    Kind("no change, correlated 0.3", lambda rng: _stepped(_noise(rng, 0.3), ())),
    Kind("no change, correlated 0.6", lambda rng: _stepped(_noise(rng, 0.6), ())),
    Kind("3 % step", lambda rng: _stepped(_noise(rng), _somewhere(rng))),
    Kind(
        "3 % step, 5 % of runs x1.2",
        lambda rng: _spiked(rng, _stepped(_noise(rng), _somewhere(rng))),
    ),
    Kind("3 % step, heavy tails", lambda rng: _stepped(_heavy(rng), _somewhere(rng))),
    Kind("3 % step, correlated 0.3", lambda rng: _stepped(_noise(rng, 0.3), _somewhere(rng))),
    Kind("3 % up, 40 runs later down", lambda rng: _stepped(_noise(rng), _up_and_down(rng))),
    Kind("5 % drift over all runs", _drift),
)
