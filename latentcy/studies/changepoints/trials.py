"""`python -m latentcy.studies.changepoints.trials`: how well changes are found, Otava's beside."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentcy.core.errors import LatentcyError
from latentcy.stats.changepoints import find_splits
from latentcy.studies.changepoints.synthetic import KINDS, Kind, LabelledSeries, late_step, series

NEAR = 7  # runs from its place within which a change counts as found
PUBLISHED = Path(__file__).parents[3] / "docs" / "otava-series.json"

LATE_SHARES = (0.03, 0.05, 0.10)
LATE_RUNS = (4, 5, 6, 7, 8, 10, 12, 15)

Method = Callable[[Sequence[np.ndarray]], list[list[int]]]

# Runs in the other library's own interpreter: series as JSON in, places as JSON out.
_OTAVA = """
import json, sys
from otava.analysis import compute_change_points
asked = json.load(sys.stdin)
json.dump([[int(one.index) for one in compute_change_points(values, max_pvalue=asked["p"])[0]]
           for values in asked["series"]], sys.stdout)
"""
_RUPTURES = """
import json, sys
import numpy as np, ruptures
found = []
for values in json.load(sys.stdin)["series"]:
    values = np.array(values)
    scale = 1.4826 * np.median(np.abs(np.diff(values))) / 2 ** 0.5
    model = ruptures.Pelt(model="l1", min_size=5, jump=1).fit(values / scale)
    found.append([int(one) for one in model.predict(pen=2 * np.log(values.size))[:-1]])
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True)
class Score:
    """Of so many changes, found within `NEAR` runs; and changes found where there are none."""

    found: int
    places: int
    false: int
    series: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables in Markdown."""
    asked = _parser().parse_args(arguments)
    methods: dict[str, Method] = {"Latentcy": _ours}
    if asked.otava:
        for p in (0.001, 0.0001):
            methods[f"Otava, p {p:g}"] = partial(_other, asked.otava, _OTAVA, p)
    if asked.ruptures:
        methods["ruptures, Pelt l1"] = partial(_other, asked.ruptures, _RUPTURES, 0.0)
    try:
        print(kinds_table(methods, asked.series), end="\n\n")
        print(late_table(methods, asked.late_series), end="\n\n")
        print(published_table(methods))
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def kinds_table(methods: dict[str, Method], count: int, kinds: Sequence[Kind] = KINDS) -> str:
    """A row a kind of series: changes found, and false changes a series."""
    lines = _head(f"{count} series of each kind", methods)
    for kind in kinds:
        known = series(kind, count)
        cells = []
        for method in methods.values():
            score = scored(known, method([one.values for one in known]))
            false = f"{score.false / score.series:.3f} false"
            found = f"{score.found / score.places:.1%} found, " if score.places else ""
            cells.append(found + false)
        lines.append(_row(kind.name, cells))
        print(kind.name, file=sys.stderr, flush=True)
    return "\n".join(lines)


def late_table(methods: dict[str, Method], count: int) -> str:
    """How soon a step is found: a row a number of runs since it."""
    lines = _head("runs since a step of " + ", ".join(f"{one:.0%}" for one in LATE_SHARES), methods)
    for runs in LATE_RUNS:
        cells = []
        found: dict[str, list[str]] = {name: [] for name in methods}
        for share in LATE_SHARES:
            known = series(late_step(share, runs), count)
            for name, method in methods.items():
                score = scored(known, method([one.values for one in known]))
                found[name].append(f"{score.found / score.places:.0%}")
        cells = [", ".join(found[name]) for name in methods]
        lines.append(_row(str(runs), cells))
        print(f"{runs} runs since a step", file=sys.stderr, flush=True)
    return "\n".join(lines)


def published_table(methods: dict[str, Method], path: Path = PUBLISHED) -> str:
    """Places found in Otava's own test series, beside those that its tests expect."""
    published = json.loads(path.read_text(encoding="utf-8"))["series"]
    lines = _head("Otava's test series (places its tests name)", methods)
    for one in published:
        places = [method([np.array(one["values"], float)])[0] for method in methods.values()]
        expected = ", ".join(map(str, one["expected"])) or "none"
        name = f"{one['name']}, {len(one['values'])} runs ({expected})"
        lines.append(_row(name, [", ".join(map(str, some)) or "none" for some in places]))
    return "\n".join(lines)


def scored(known: Sequence[LabelledSeries], found: Sequence[Sequence[int]]) -> Score:
    """Each true place is found by the nearest change within `NEAR`; what is left is false."""
    hits = false = 0
    for one, places in zip(known, found, strict=True):
        left = list(places)
        for place in one.places:
            nearest = min(left, key=lambda index: abs(index - place), default=None)
            if nearest is not None and abs(nearest - place) <= NEAR:
                hits += 1
                left.remove(nearest)
        false += len(left)
    return Score(hits, sum(len(one.places) for one in known), false, len(known))


def _ours(values: Sequence[np.ndarray]) -> list[list[int]]:
    return [[split.index for split in find_splits(one)] for one in values]


def _other(python: str, script: str, p: float, values: Sequence[np.ndarray]) -> list[list[int]]:
    asked = json.dumps({"series": [one.tolist() for one in values], "p": p})
    try:
        done = subprocess.run(
            [python, "-c", script], input=asked, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        raise LatentcyError(
            found=f"{python}, which could not run the other library ({last})",
            expected="the python of a virtual environment that holds it",
            do="install it there: PYTHON -m pip install apache-otava (or ruptures)",
        ) from error
    return json.loads(done.stdout)


def _head(first: str, methods: dict[str, Method]) -> list[str]:
    return [_row(first, list(methods)), "| --- " * (len(methods) + 1) + "|"]


def _row(name: str, cells: Sequence[str]) -> str:
    return " | ".join(["", name, *cells, ""]).strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m latentcy.studies.changepoints.trials",
        description="Finds changes in series whose changes are known, and counts.",
    )
    parser.add_argument("--series", type=int, default=500, help="of each kind (default: 500)")
    parser.add_argument(
        "--late-series", type=int, default=100, help="of each late step (default: 100)"
    )
    parser.add_argument("--otava", metavar="PYTHON", help="of an environment with apache-otava")
    parser.add_argument("--ruptures", metavar="PYTHON", help="of an environment with ruptures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
