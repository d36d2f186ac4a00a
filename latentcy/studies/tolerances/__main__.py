"""`python -m latentcy.studies.tolerances OUT.json`: the healthy spread and the table from it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from latentcy.core.errors import LatentcyError
from latentcy.gates.tolerances import ONE
from latentcy.pipelines.devices.device import environment, find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.prompts import prompt_set
from latentcy.store.baselines import versions
from latentcy.studies.tolerances.derive import (
    KINDS,
    LEAST,
    OF_BOUND,
    OF_MEAN,
    OF_ONE,
    OF_SETS,
    derive,
    seen,
    set_seen,
)
from latentcy.studies.tolerances.healthy import CHANGES, SETS, Studio

SCHEMA = 1
PROMPTS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the file lacks and prints the tables; with --table, prints them alone."""
    wanted = _parser().parse_args(arguments)
    try:
        if not wanted.table:
            _measure(wanted)
        data = read_file(wanted.file)
        _check_whole(wanted.file, data)
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 2
    print(report(data["changes"]))
    return 0


def report(changes: Sequence[Mapping[str, Any]]) -> str:
    """The tolerances by kind, then what they were derived from, as two Markdown tables."""
    return f"{_limits(changes)}\n\n{_found(changes)}"


def read_file(path: Path) -> dict[str, Any]:
    """What was measured. Raises LatentcyError for a file that this command did not write."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        for change in data["changes"]:
            for readings in change["seen"].values():
                if not all(value >= 0 for value in readings.values()):  # False for NaN
                    raise ValueError(f"{change['change']}: {readings} is no loss")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LatentcyError(
            found=f"{path} cannot be used: {type(error).__name__}: {error}",
            expected=f"a file of schema {SCHEMA}, as this command writes it",
            do="delete the file and measure again",
        ) from error
    return data


def _measure(wanted: argparse.Namespace) -> None:
    """Add each change that the file lacks, and write it after each."""
    torch.set_num_threads(wanted.threads)
    device = find_device("cpu")
    model, _ = resolve_model("miniature", device)
    prompts = tuple(dict.fromkeys(prompt_set(model, None, PROMPTS)))
    new: dict[str, Any] = {"schema": SCHEMA, "model": model.name, "prompts": len(prompts),
           "versions": versions(environment(device)), "changes": []}  # fmt: skip
    data = read_file(wanted.file) if wanted.file.exists() else new
    for name in ("prompts", "versions"):
        if data.get(name) != new[name]:
            raise LatentcyError(
                found=f"{wanted.file} was measured with {name} {data.get(name)}, here {new[name]}",
                expected="one file of one place",
                do="name another file",
            )
    studio = Studio(model, device, prompts)
    started, known = time.monotonic(), {change["change"] for change in data["changes"]}
    for change in (*CHANGES, *SETS):
        if change.says in known:
            continue
        reading, reference = studio.readings(change)
        found = set_seen(reading, reference) if change in SETS else seen(reading, reference)
        data["changes"].append({"kind": change.kind, "change": change.says,
                                "images": len(reading.images), "seen": found})  # fmt: skip
        _write(wanted.file, data)
        said = f"{time.monotonic() - started:7.0f} s  {change.kind}: {change.says}"
        print(said, file=sys.stderr, flush=True)


def _check_whole(path: Path, data: Mapping[str, Any]) -> None:
    missing = {change.says for change in (*CHANGES, *SETS)}
    missing -= {change["change"] for change in data["changes"]}
    if missing:
        raise LatentcyError(
            found=f"{path} lacks {', '.join(sorted(missing))}",
            expected="every healthy change",
            do="measure them: leave --table out",
        )


def _limits(changes: Sequence[Mapping[str, Any]]) -> str:
    table = derive(changes)
    rows = [[limit, *(_cell(table[kind].get(limit)) for kind in KINDS)] for limit in LEAST]
    return _markdown(["allowed loss", *KINDS], rows)


def _found(changes: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(("SSIM", "CLIP", *(limit.removesuffix(ONE) for limit in LEAST)))
    rows = [[name, *(_worst(name, kind, changes) for kind in KINDS)] for name in names]
    return _markdown(["seen, at worst", *KINDS], rows)


def _worst(name: str, kind: str, changes: Sequence[Mapping[str, Any]]) -> str:
    """The worst of a kind's changes: mean of 8, bound of 16, single image; or that of sets."""
    found = [each["seen"][name] for each in changes if each["kind"] == kind
             and name in each["seen"]]  # fmt: skip
    if not found:
        return "-"
    return " / ".join(f"{max(each[reading] for each in found):.2g}" for reading in found[0])


def _cell(limit: tuple[float, str] | None) -> str:
    if limit is None:
        return "-"
    value, how = limit
    return f"**{value:g}**" if how == "seen" else f"{value:g}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    try:
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise LatentcyError(
            found=f"{path} cannot be written: {error.strerror or error}",
            expected="a file in a folder that this user may write to",
            do="name another file",
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m latentcy.studies.tolerances",
        description="Measures how far healthy changes move the miniature's images, and proposes the"
        f" tolerances: {OF_MEAN:g} x the worst mean of 8 images, {OF_BOUND:g} x the worst bound of"
        f" 16, {OF_ONE:g} x the worst single image, {OF_SETS:g} x FID and KID of sets.",
    )
    parser.add_argument(
        "file",
        type=Path,
        help="JSON; what it lacks is measured and added, so"
        " that an interrupted derivation goes on where it stopped",
    )
    parser.add_argument("--table", action="store_true", help="print the file's, measure nothing")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
