"""`python -m latentcy.studies.speed_gate`: the speed gate's false alarms and power here."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import environment, find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.workload import workload
from latentcy.studies.speed_gate.rules import Rate, left_open, mean_pairs, rates, real_sizes
from latentcy.studies.speed_gate.trials import Bench, Plan, Trial, looks_of, read_trials, run_trials

SHARES = (0.0, 0.03, 0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, appends to a file, and prints the table; with --table, prints it alone."""
    asked = _parser().parse_args(arguments)
    try:
        if not asked.table:
            _measure(asked)
        measured = read_trials(asked.file)
        trials = measured.trials
        if not trials:
            raise LatentcyError(
                found=f"no trial in {asked.file}",
                expected="at least one trial of each kind",
                do="measure some: leave --table out",
            )
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 2
    print(report(trials, asked.tolerance, looks=looks_of(measured.plan.pairs).count))
    return 0


def report(trials: Sequence[Trial], tolerance: float, *, looks: int = 1) -> str:
    """The table in Markdown: a row a rule, a column a share of added work, rates with intervals.

    Of trials that were timed until it was known, also what was left open, and the mean pairs.
    """
    found = rates(trials, tolerance, looks=looks)
    if looks > 1:
        found = (*found, *left_open(trials, tolerance, looks=looks))
    shares = sorted({rate.added for rate in found})
    sizes = real_sizes(trials)
    heads = ["rule that says slower"]
    heads += [f"{_work(share)} (measured {sizes[share]:+.2%})" for share in shares]
    lines = [" | ".join(["", *heads, ""]).strip(), "| --- " * len(heads) + "|"]
    for rule in dict.fromkeys(rate.rule for rate in found):
        by_share = {rate.added: _cell(rate) for rate in found if rate.rule == rule}
        cells = [by_share.get(share, "-") for share in shares]
        lines.append(" | ".join(["", rule, *cells, ""]).strip())
    if looks > 1:
        mean = [f"{number:.1f}" for number in mean_pairs(trials).values()]
        lines.append(" | ".join(["", "mean pairs of a trial", *mean, ""]).strip())
    return "\n".join(lines)


def _measure(asked: argparse.Namespace) -> None:
    if asked.threads:
        torch.set_num_threads(asked.threads)
    device = find_device(asked.device)
    model, _ = resolve_model(asked.model, device)
    work = workload(
        "single", height=model.height, width=model.width, guidance_scale=model.guidance_scale
    )
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", file=sys.stderr, flush=True)

    seen = environment(device)
    say(", ".join(f"{name} {value}" for name, value in seen.items()))
    plan = Plan(
        model=model.name,
        steps=asked.steps,
        pairs=asked.pairs,
        seed=asked.seed,
        shares=SHARES,
        environment=seen,
        tolerance=asked.tolerance,
    )
    bench = Bench(model, device, replace(work, steps=asked.steps))
    run_trials(bench, asked.file, plan=plan, trials=asked.trials, say=say)


def _work(share: float) -> str:
    return f"{share:.0%} added" if share else "nothing added"


def _cell(rate: Rate) -> str:
    low, high = rate.bounds
    return f"{rate.hits} of {rate.trials}: {rate.hits / rate.trials:.1%} ({low:.1%} to {high:.1%})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m latentcy.studies.speed_gate",
        description="Times a pipeline against itself, with nothing, 3 % and 5 % of real work added,"
        " and counts how often each rule says slower.",
    )
    parser.add_argument("file", type=Path, help="JSON lines, one a trial; appended to, so that an"
                        " interrupted calibration goes on where it stopped")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="print the file's table, time nothing")
    parser.add_argument("--trials", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument("--pairs", type=int, help="of each trial (default: until it is known)")
    parser.add_argument("--steps", type=int, default=4, help="of a generation (default: 4)")
    parser.add_argument("--tolerance", type=float, default=0.01, help="(default: 0.01)")
    parser.add_argument("--model", default="miniature", help="(default: miniature)")
    parser.add_argument("--device", default="auto", help="(default: auto)")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
