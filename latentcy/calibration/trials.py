"""Trials: a pipeline against itself, and against itself with real work added to it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from latentcy.errors import LatentcyError
from latentcy.generate.device import Device
from latentcy.generate.models import Model
from latentcy.generate.pairing import time_pairs
from latentcy.generate.sampler import Sampler, open_sampler
from latentcy.generate.variants import Variant
from latentcy.generate.workloads import Workload
from latentcy.judge.stats import hodges_lehmann, log_ratios

PLAIN = Variant("plain", "Nothing.")


@dataclass(frozen=True)
class Trial:
    """One trial: what was added to the candidate, and both sides' seconds, pair by pair."""

    added: float  # share of a generation's time that the added work was meant to take
    seed: int  # of the order of its pairs
    reference: tuple[float, ...]
    candidate: tuple[float, ...]


class AddedWork:
    """Work added to every call of a UNet: one of its own convolutions, `units` times more."""

    def __init__(self) -> None:
        self.units = 0
        self._input: torch.Tensor | None = None

    def prepare(self, pipeline: Any) -> None:
        """A variant's hook: has the pipeline's UNet do the work after each of its calls."""
        unet = pipeline.unet
        # A convolution's own forward, so that no hook of the module counts it as a call.
        conv = next(
            one for one in unet.down_blocks[0].modules() if isinstance(one, torch.nn.Conv2d)
        )
        size = unet.config.sample_size

        def work(module: Any, inputs: Any, output: Any) -> None:
            if self._input is None:
                shape = (2, conv.in_channels, size, size)
                self._input = torch.zeros(shape, device=unet.device, dtype=unet.dtype)
            for _ in range(self.units):
                conv.forward(self._input)

        unet.register_forward_hook(work)


class Bench:
    """Makes trials on one model and device, each with freshly loaded pipelines."""

    def __init__(self, model: Model, device: Device, workload: Workload) -> None:
        self._model, self._device, self._workload = model, device, workload

    def units_for(self, shares: Sequence[float], *, pairs: int = 100) -> dict[float, int]:
        """How many units take each share of a generation's time, by timing with and without.

        Raises LatentcyError where the added work's own time is lost in the noise.
        """
        many = 60  # near the sizes wanted, where caches behave alike
        work, plain, slowed = self._open()
        work.units = many
        timed = time_pairs(plain.seconds, slowed.seconds, pairs=pairs, seed=0)
        plain.close()
        slowed.close()
        slowdown = math.exp(hodges_lehmann(log_ratios(timed.reference, timed.candidate)))
        each = (slowdown - 1) / many
        if not each > 0:
            raise LatentcyError(
                found=f"{many} added convolutions that cost nothing measurable",
                expected="added work whose time can be told from the noise",
                do="leave the machine to this command, and start it again",
            )
        return {share: round(share / each) for share in shares}

    def trial(self, added: float, units: int, *, pairs: int, seed: int) -> Trial:
        """One trial of `pairs` pairs; both pipelines are loaded for it and warm."""
        work, plain, slowed = self._open()
        work.units = units
        try:
            timed = time_pairs(plain.seconds, slowed.seconds, pairs=pairs, seed=seed)
        finally:
            plain.close()
            slowed.close()
        return Trial(added, seed, timed.reference, timed.candidate)

    def _open(self) -> tuple[AddedWork, Sampler, Sampler]:
        work = AddedWork()
        slower = replace(PLAIN, name="slowed", prepare=work.prepare)
        samplers = [
            open_sampler(self._model, variant, self._device, self._workload)
            for variant in (PLAIN, slower)
        ]
        for _ in range(2):  # warm, twice each
            for sampler in samplers:
                sampler.generate()
        return work, samplers[0], samplers[1]


def schedule(shares: Sequence[float], trials: int, seed: int) -> Iterator[tuple[float, int]]:
    """(share, seed of the trial): each share `trials` times, in rounds of shuffled order."""
    chance = random.Random(seed)
    for _ in range(trials):
        for share in chance.sample(list(shares), len(shares)):
            yield share, chance.randrange(2**31)


def run_trials(
    bench: Bench,
    file: Path,
    *,
    shares: Sequence[float],
    trials: int,
    pairs: int,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Appends trials to `file`, a JSON line each, going on where an earlier call stopped."""
    done = len(read_trials(file)) if file.exists() else 0
    plan = list(schedule(shares, trials, seed))[done:]
    if not plan:
        return
    units = bench.units_for([share for share in shares if share])
    say(f"units of added work: {units}")
    for number, (share, own_seed) in enumerate(plan, start=done + 1):
        trial = bench.trial(share, units.get(share, 0), pairs=pairs, seed=own_seed)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(trial)) + "\n")
        say(f"trial {number} of {done + len(plan)}")


def read_trials(file: Path) -> tuple[Trial, ...]:
    """The trials in a file. Raises LatentcyError where it is missing or damaged."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return tuple(
            Trial(row["added"], row["seed"], tuple(row["reference"]), tuple(row["candidate"]))
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LatentcyError(
            found=f"{file}, which holds no trials ({error})",
            expected="a file of JSON lines that latentcy.calibration wrote",
            do="give the path of one, or have it measured anew",
        ) from error
