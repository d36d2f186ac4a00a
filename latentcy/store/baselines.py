"""What a measurement is held against: the runs stored for one device and case."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from latentcy.core.errors import LatentcyError
from latentcy.core.files import damaged, read_json, write_whole

# 1: the first: one measurement.
# 2: the runs behind a baseline, oldest first, each with its yardstick and versions; the fingerprint
#    holds only what must agree, and the number of devices with it.
SCHEMA = 2

# What must agree before two latencies may be compared.
MUST_AGREE = (
    "device",
    "device_name",
    "device_count",
    "model",
    "weights",
    "workload",
    "threads",
    "timing",  # alone, or in pairs with what: what ran before a generation is part of its time
)

# What may differ between two runs and is named where it does: its effect is what one wants to see.
VERSIONS = ("python", "torch", "diffusers", "transformers", "cuda", "cudnn", "driver")

KEPT_RUNS = 50


@dataclass(frozen=True)
class StoredRun:
    """One run's measurement of a case.

    Attributes:
        recorded: ISO 8601 date and time, UTC.
        seconds: median latency of one generation.
        rounds: seconds of each round.
        yardstick_seconds: of `latentcy.measure.machine_speed` around the case; None where not
            timed.
        peak_bytes: peak memory, or None where it could not be read.
        versions: of what is in `VERSIONS`.
        counters: operators and host synchronisations per step; None where not counted.
    """

    recorded: str
    seconds: float
    rounds: tuple[float, ...]
    yardstick_seconds: float | None = None
    peak_bytes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StoredBaseline:
    """The stored runs of one case, "<model>/<group>/<variant>", on one device, oldest first."""

    case: str
    fingerprint: Mapping[str, str]
    runs: tuple[StoredRun, ...]

    @property
    def newest(self) -> StoredRun:
        """The run stored last."""
        return self.runs[-1]


@dataclass(frozen=True)
class AddedRun:
    """A baseline with a run added; `anew` says why it begins with that run, None if it does not."""

    baseline: StoredBaseline
    anew: str | None = None


def fingerprint(
    *, device: Any, model: Any, workload: Any, weights: str, timing: str
) -> dict[str, str]:
    """Say what is measured on what: a text for each name in `MUST_AGREE`.

    `weights` is a digest (`weights_identity`), never a path on this machine.
    """
    return {
        "device": device.slug,
        "device_name": device.name,
        "device_count": str(_device_count(device.kind)),
        "model": model.name,
        "weights": weights,
        "workload": f"{len(workload.seeds)} x {workload.width}x{workload.height}, "
        f"{workload.steps} {workload.scheduler} steps, guidance {workload.guidance_scale:g}",
        "threads": str(device.threads or ""),
        "timing": timing,
    }


def versions(environment: Mapping[str, str]) -> dict[str, str]:
    """Pick what is in `VERSIONS` from an environment; what is absent there is left out."""
    return {name: str(environment[name]) for name in VERSIONS if environment.get(name)}


def differences(
    stored: Mapping[str, str], current: Mapping[str, str], *, leaving: Collection[str] = ()
) -> tuple[str, ...]:
    """Name what must agree and does not, as "device: cpu-a here, cpu-b stored".

    `leaving` are names that do not matter to what is compared.
    """
    return tuple(
        f"{key}: {current.get(key, '?')} here, {stored.get(key, '?')} stored"
        for key in MUST_AGREE
        if key not in leaving and stored.get(key, "") != current.get(key, "")
    )


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Name every version that differs, as "torch 2.12.0 -> 2.13.0"."""
    return tuple(
        f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
    )


def add_run(
    stored: StoredBaseline | None, run: StoredRun, *, case: str, fingerprint: Mapping[str, str]
) -> AddedRun:
    """Append a run to what is stored where the fingerprint agrees, else begin with it anew.

    The last `KEPT_RUNS` are kept.
    """
    anew = "none was stored" if stored is None else None
    if stored is not None and (unlike := differences(stored.fingerprint, fingerprint)):
        anew = f"the one stored is of something else ({'; '.join(unlike)})"
    past = () if stored is None or anew else stored.runs
    return AddedRun(StoredBaseline(case, fingerprint, (*past, run)[-KEPT_RUNS:]), anew)


def is_seconds(value: Any) -> bool:
    """True for a time that a measurement can take: a number from a nanosecond to 1e9 seconds.

    The limits keep every ratio of two such times, and every logarithm of one, far from overflow.
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 1e-9 <= value <= 1e9


def baseline_path(root: Path, device_slug: str, model: str, group: str, variant: str) -> Path:
    """Place of a stored baseline: <root>/<device>/<model>/<group>-<variant>.json."""
    return Path(root) / _slug(device_slug) / _slug(model) / f"{_slug(group)}-{_slug(variant)}.json"


def write_baseline(path: Path, baseline: StoredBaseline) -> None:
    """Write whole or not at all: a temporary file beside it, then one rename.

    Raises:
        LatentcyError: the place cannot be written.
        TypeError, ValueError: the baseline holds what `read_baseline` would refuse.
    """
    runs = [{**vars(run), "versions": dict(run.versions)} for run in baseline.runs]
    data = {"case": baseline.case, "fingerprint": dict(baseline.fingerprint), "runs": runs}
    _baseline(data)
    text = json.dumps({"schema": SCHEMA, **data}, indent=2, sort_keys=True)
    write_whole(Path(path), f"{text}\n".encode(), "the baseline")


def read_baseline(path: Path) -> StoredBaseline | None:
    """Read a stored baseline; None where there is none.

    Raises:
        LatentcyError: the file is damaged, of another schema, or cannot be read.
    """
    path = Path(path)
    again = "delete the file and record it again with --benchmark-record"
    if not path.exists():
        return None
    data = read_json(path, do=again)
    if data.get("schema") != SCHEMA:
        raise LatentcyError(
            found=f"the baseline {path} has schema {data.get('schema')!r}",
            expected=f"schema {SCHEMA}",
            do=f"use the latentcy version that wrote it, or {again}",
        )
    try:
        return _baseline(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}", do=again) from error


def _baseline(data: Mapping[str, Any]) -> StoredBaseline:
    """Check every value of a baseline. Raises KeyError, TypeError, ValueError or AttributeError."""
    runs = tuple(_run(run) for run in _list(data["runs"]))
    return StoredBaseline(_text(data["case"]), _texts(data["fingerprint"]), runs)


def _run(data: Mapping[str, Any]) -> StoredRun:
    peak, yardstick = data["peak_bytes"], data["yardstick_seconds"]
    if peak is not None and (isinstance(peak, bool) or not isinstance(peak, int) or peak <= 0):
        raise ValueError(f"{peak!r} is no positive number of bytes")
    datetime.fromisoformat(_text(data["recorded"]))
    return StoredRun(
        recorded=data["recorded"],
        seconds=_seconds(data["seconds"]),
        rounds=tuple(_seconds(value) for value in _list(data["rounds"])),
        yardstick_seconds=None if yardstick is None else _seconds(yardstick),
        peak_bytes=peak,
        versions=_texts(data["versions"]),
        counters=dict(data["counters"]) if data.get("counters") else None,
    )


def _seconds(value: Any) -> float:
    if not is_seconds(value):
        raise ValueError(f"{value!r} is no time in seconds")
    return value


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError(f"{value!r} is no list with something in it")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(key): _text(one) for key, one in value.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _device_count(kind: str) -> int:
    if kind != "cuda":
        return 1
    import torch  # here, since reports are built where there is none

    return torch.cuda.device_count()


def _slug(name: str) -> str:
    """A file name for any name; what had to be changed gets a digest, so that none collide."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    if slug == name:
        return slug
    return f"{slug or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
