"""Noise schedules, and the steps of DDIM and PNDM, by their papers' formulas in float64.

Apart from diffusers, so that what it computes can be held against them. alpha(t) stands for the
product of 1 - beta up to t, diffusers' `alphas_cumprod`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray


def stated_config(
    kind: type, stated: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The config of a scheduler of class `kind` made from a file's values.

    What the file does not state has the class' default, and `settings` go before both.
    """
    names = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    defaults = {
        name: one.default
        for name, one in names.items()
        if one.default is not inspect.Parameter.empty
    }
    given = {**stated, **settings}
    return defaults | {name: value for name, value in given.items() if name in defaults}


def alphas(config: Mapping[str, Any]) -> Array:
    """alpha(t) of all training timesteps, [num_train_timesteps] float64.

    Betas as trained, linear (Ho et al. 2020), linear in their roots (Rombach et al. 2022) or by
    a squared cosine (Nichol and Dhariwal 2021); with zero terminal SNR as in Lin et al. 2023,
    algorithm 1. Raises ValueError for another schedule.
    """
    count = config["num_train_timesteps"]
    start, end, name = config["beta_start"], config["beta_end"], config["beta_schedule"]
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], dtype=np.float64)
    elif name == "linear":
        betas = np.linspace(start, end, count)
    elif name == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, count) ** 2
    elif name == "squaredcos_cap_v2":
        bar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - bar[1:] / bar[:-1], 0.999)
    else:
        raise ValueError(f"betas by {name}")
    made = np.cumprod(1 - betas)
    if config.get("rescale_betas_zero_snr"):
        roots = np.sqrt(made)
        made = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return made


def spaced(config: Mapping[str, Any], steps: int) -> list[int]:
    """The timesteps of DDIM, descending: the three spacings of Lin et al. 2023, table 2.

    Raises ValueError for another spacing.
    """
    count, spacing = config["num_train_timesteps"], config["timestep_spacing"]
    if spacing == "leading":
        found = np.arange(steps)[::-1] * (count // steps) + config["steps_offset"]
    elif spacing == "trailing":
        found = np.round(np.arange(count, 0, -count / steps)) - 1
    elif spacing == "linspace":
        found = np.round(np.linspace(0, count - 1, steps))[::-1]
    else:
        raise ValueError(f"timesteps by {spacing}")
    return [int(each) for each in found]


class DDIM:
    """Song et al. 2021, formula 12 at eta 0: from each timestep to the next one of the list."""

    def __init__(self, config: Mapping[str, Any], steps: int) -> None:
        self._config, self._alphas = config, alphas(config)
        self._final = 1.0 if config["set_alpha_to_one"] else float(self._alphas[0])
        self.timesteps = self._path = spaced(config, steps)

    def run(self, samples: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        """What each step makes of samples[i] and the UNet's outputs[i], float64."""
        return [
            self._move(sample, output, place, place + 1)
            for place, (sample, output) in enumerate(zip(samples, outputs, strict=True))
        ]

    def _move(self, sample: Array, output: Array, start: int, end: int) -> Array:
        """From the path's timestep number `start` to number `end`; behind the last is no noise."""
        now = float(self._alphas[self._path[start]])
        then = float(self._alphas[self._path[end]]) if end < len(self._path) else self._final
        kind = self._config["prediction_type"]
        if kind == "epsilon":
            noise, clean = output, (sample - (1 - now) ** 0.5 * output) / now**0.5
        elif kind == "v_prediction":
            noise = now**0.5 * output + (1 - now) ** 0.5 * sample
            clean = now**0.5 * sample - (1 - now) ** 0.5 * output
        else:
            noise, clean = (sample - now**0.5 * output) / (1 - now) ** 0.5, output
        if self._config.get("clip_sample"):
            limit = self._config.get("clip_sample_range", 1.0)
            clean = np.clip(clean, -limit, limit)
        return np.asarray(then**0.5 * clean + (1 - then) ** 0.5 * noise)


class PNDM(DDIM):
    """Liu et al. 2022 without its Runge-Kutta steps: the second step is made twice.

    Adams-Bashforth over the last four outputs (their formula 12); the first step is made anew with
    the mean of its outputs at both ends.
    """

    def __init__(self, config: Mapping[str, Any], steps: int) -> None:
        super().__init__(config, steps)
        self.timesteps = self._path[:2] + self._path[1:]

    def run(self, samples: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        """What each step makes of samples[i] and the UNet's outputs[i], float64."""
        made: list[Array] = []
        kept: list[Array] = []
        for place, (sample, output) in enumerate(zip(samples, outputs, strict=True)):
            if place == 1:
                made.append(self._move(samples[0], (output + kept[-1]) / 2, 0, 1))
                continue
            kept = [*kept[-3:], output]
            weights = _ADAMS_BASHFORTH[len(kept)]
            parts = [weight * one for weight, one in zip(weights, kept[::-1], strict=True)]
            mixed = np.sum(parts, axis=0)
            start = max(place - 1, 0)
            made.append(self._move(sample, mixed, start, start + 1))
        return made


_ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
