"""Trials: a pipeline against itself, and against itself with real work added to it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from latentcy.core.errors import LatentcyError
from latentcy.gates.speed import CONFIDENCE, compare, is_decided
from latentcy.measure.pairing import time_pairs
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.families import denoiser_of
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import Workload
from latentcy.stats.looks import Looks, looks_for
from latentcy.stats.paired_tests import hodges_lehmann, log_ratios

PLAIN = Variant("plain", "Nothing.")


@dataclass(frozen=True)
class Trial:
    """One trial: what was added to the candidate, and both sides' seconds, pair by pair."""

    added: float  # share of a generation's time that the added work was meant to take
    seed: int  # of the order of its pairs
    reference: tuple[float, ...]
    candidate: tuple[float, ...]


def looks_of(pairs: int | None) -> Looks:
    """One look at a fixed number of pairs; with None those of a case alone."""
    return looks_for(1, CONFIDENCE) if pairs is None else Looks((pairs,))


class AddedWork:
    """Work added to every call of a UNet: one of its own convolutions, `units` times more."""

    def __init__(self) -> None:
        self.units = 0
        self._input: torch.Tensor | None = None

    def prepare(self, pipeline: Any) -> None:
        """A variant's hook: has the pipeline's UNet do the work after each of its calls."""
        denoiser = denoiser_of(pipeline)
        # A convolution's own forward, so that no hook of the module counts it as a call.
        conv = next(
            one for one in denoiser.down_blocks[0].modules() if isinstance(one, torch.nn.Conv2d)
        )
        size = denoiser.config.sample_size

        def work(module: Any, inputs: Any, output: Any) -> None:
            if self._input is None:
                shape = (2, conv.in_channels, size, size)
                self._input = torch.zeros(shape, device=denoiser.device, dtype=denoiser.dtype)
            for _ in range(self.units):
                conv.forward(self._input)

        denoiser.register_forward_hook(work)


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
        timed = time_pairs(plain.seconds, slowed.seconds, increments=(pairs,), seed=0)
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

    def trial(
        self, added: float, units: int, *, pairs: int | None, tolerance: float, seed: int
    ) -> Trial:
        """One trial; both pipelines are loaded for it and warm.

        It takes `pairs` pairs, or with None as many as it takes to know whether the tolerance is
        kept.
        """
        looks = looks_of(pairs)
        work, plain, slowed = self._open()
        work.units = units
        try:
            timed = time_pairs(
                plain.seconds,
                slowed.seconds,
                increments=looks.increments,
                seed=seed,
                is_known=lambda each: is_decided(
                    compare(each.reference, each.candidate, tolerance, looks=looks.count)
                ),
            )
        finally:
            plain.close()
            slowed.close()
        reference, candidate = (tuple(round(each, 7) for each in side) for side in timed.sides)
        return Trial(added, seed, reference, candidate)

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


@dataclass(frozen=True)
class Plan:
    """What a file of trials was measured with; a file goes on only with the same."""

    model: str
    steps: int
    pairs: int | None  # of each trial; None: until it is known
    seed: int
    shares: tuple[float, ...]  # of added work
    environment: Mapping[str, str]
    units: Mapping[str, int] = field(default_factory=dict)  # of added work, by share
    tolerance: float = 0.01  # by which trials are timed until it is known


@dataclass(frozen=True)
class TrialFile:
    """A file's plan and its trials, in the order in which they were made."""

    plan: Plan
    trials: tuple[Trial, ...]


def schedule(shares: Sequence[float], trials: int, seed: int) -> Iterator[tuple[float, int]]:
    """(share, seed of the trial): each share `trials` times, in rounds of shuffled order."""
    chance = random.Random(seed)
    for _ in range(trials):
        for share in chance.sample(list(shares), len(shares)):
            yield share, chance.randrange(2**31)


def run_trials(
    bench: Bench, file: Path, *, plan: Plan, trials: int, say: Callable[[str], None]
) -> None:
    """Appends trials to `file`, a JSON line each, going on where an earlier call stopped.

    Raises LatentcyError where the file was begun with another plan, or cannot be written.
    """
    done = 0
    if file.exists():
        begun = read_trials(file)
        _check_same(file, begun.plan, plan)
        plan, done = begun.plan, len(begun.trials)
    wanted = list(schedule(plan.shares, trials, plan.seed))
    if not done:
        units = bench.units_for([share for share in plan.shares if share])
        plan = replace(plan, units={str(share): count for share, count in units.items()})
        _append(file, asdict(plan))
    say(f"units of added work: {dict(plan.units)}")
    for number, (share, seed) in enumerate(wanted[done:], start=done + 1):
        units_here = plan.units.get(str(share), 0)
        trial = bench.trial(
            share, units_here, pairs=plan.pairs, tolerance=plan.tolerance, seed=seed
        )
        _append(file, asdict(trial))
        say(f"trial {number} of {len(wanted)}")


def read_trials(file: Path) -> TrialFile:
    """The plan and the trials in a file; a last line that was cut off is left out.

    Raises LatentcyError where it is missing or damaged.
    """
    try:
        first, *lines = file.read_text(encoding="utf-8").splitlines()
        plan = json.loads(first)
        plan["shares"] = tuple(plan["shares"])
        if lines and not _whole(lines[-1]):
            lines.pop()
        rows = [json.loads(line) for line in lines]
        trials = tuple(
            Trial(row["added"], row["seed"], tuple(row["reference"]), tuple(row["candidate"]))
            for row in rows
        )
        return TrialFile(Plan(**plan), trials)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LatentcyError(
            found=f"{file}, which holds no trials ({error})",
            expected="a file of JSON lines that latentcy.studies.speed_gate wrote",
            do="give the path of one, or have it measured anew",
        ) from error


def _append(file: Path, row: Mapping[str, Any]) -> None:
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        with file.open("a", encoding="utf-8") as lines:
            if text and not text.endswith("\n"):  # what an interrupted call has left
                lines.truncate(text.rfind("\n") + 1)
            lines.write(json.dumps(row) + "\n")
    except OSError as error:
        raise LatentcyError(
            found=f"{file}, which cannot be written ({error.strerror or error})",
            expected="a file in a folder that this user may write to",
            do="give another path",
        ) from error


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _check_same(file: Path, begun: Plan, plan: Plan) -> None:
    for name in ("model", "steps", "pairs", "seed", "shares", "tolerance", "environment"):
        before, now = getattr(begun, name), getattr(plan, name)
        if before != now:
            raise LatentcyError(
                found=f"{file}, begun with {name} {before}",
                expected=f"one begun with {name} {now}",
                do="go on with the same, or name another file",
            )
