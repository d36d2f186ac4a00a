"""What a measurement is held against: published rows, and baselines stored per device."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentcy.errors import LatentcyError

# 1: the first.
SCHEMA = 1

# Of a fingerprint, what must agree before two latencies may be compared. Versions of libraries and
# of the driver may differ: their effect is what one wants to see.
MUST_AGREE = ("device", "device_name", "model", "weights", "workload", "threads")

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published" / "a100.json"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table; it carries only what its document states."""

    model: str  # "sd15" | "sd14"
    group: str
    variant: str
    seconds: float
    speedup: float
    device: str  # "NVIDIA A100"
    source: str  # title, version and URL of the document
    differs: str = ""  # how its setup differs from the variant here, so that it cannot bind


@dataclass(frozen=True)
class StoredBaseline:
    """A stored measurement of one case on one device.

    Attributes:
        case: the case's id, "<model>/<group>/<variant>".
        fingerprint: what was measured on what; see `fingerprint`.
        seconds: median latency of one generation.
        rounds: seconds of each round.
        peak_bytes: peak memory, or None where it could not be read.
        recorded: ISO 8601 date.
    """

    case: str
    fingerprint: Mapping[str, str]
    seconds: float
    rounds: tuple[float, ...]
    peak_bytes: int | None
    recorded: str
    schema: int = SCHEMA


def published(
    model: str | None, group: str, variant: str, *, path: Path = PUBLISHED
) -> PublishedRow | None:
    """Find a published row; with model None, that of whichever model the document measured.

    Raises:
        LatentcyError: the published tables are missing or damaged.
    """
    tables = _read_json(path, do="restore the file from the repository")
    try:
        source = tables["source"]
        said_by = f"{source['document']} {source['version']}, {source['title']}: {source['url']}"
        for table in tables["tables"]:
            if table["group"] != group or model not in (None, table["model"]):
                continue
            for row in table["rows"]:
                if row["variant"] == variant:
                    return PublishedRow(
                        model=table["model"],
                        group=group,
                        variant=variant,
                        seconds=float(row["seconds"]),
                        speedup=float(row["speedup"]),
                        device=source["device"],
                        source=said_by,
                        differs=str(row.get("differs", "")),
                    )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, repr(error), do="restore the file from the repository") from error
    return None


def fingerprint(
    *, device: Any, model: Any, workload: Any, environment: Mapping[str, str]
) -> dict[str, str]:
    """Say what was measured on what, in strings that can be compared.

    A local model is known by its name, never by its path on this machine.
    """
    weights = model.source
    if model.source == "hub":
        weights = f"{model.pipeline.location}@{model.pipeline.revision or 'main'}"
    prints = {
        "device": device.slug,
        "device_name": device.name,
        "driver": device.driver or "",
        "threads": str(device.threads or ""),
        "model": model.name,
        "weights": weights,
        "workload": f"{len(workload.seeds)} x {workload.width}x{workload.height}, "
        f"{workload.steps} {workload.scheduler} steps, guidance {workload.guidance_scale:g}",
    }
    for library in ("python", "torch", "diffusers", "transformers"):
        prints[library] = str(environment.get(library, ""))
    return prints


def differences(stored: Mapping[str, str], current: Mapping[str, str]) -> tuple[str, ...]:
    """Name what must agree and does not, as "device: cpu-a here, cpu-b stored"."""
    return tuple(
        f"{key}: {current.get(key, '?')} here, {stored.get(key, '?')} stored"
        for key in MUST_AGREE
        if stored.get(key, "") != current.get(key, "")
    )


def baseline_path(root: Path, device_slug: str, model: str, group: str, variant: str) -> Path:
    """Place of a stored baseline: <root>/<device>/<model>/<group>-<variant>.json."""
    return Path(root) / _slug(device_slug) / _slug(model) / f"{_slug(group)}-{_slug(variant)}.json"


def write_baseline(path: Path, baseline: StoredBaseline) -> None:
    """Write whole or not at all: a temporary file beside it, then one rename.

    Raises:
        LatentcyError: the place cannot be written.
        ValueError: the baseline holds seconds that are no positive numbers.
    """
    _check_seconds((baseline.seconds, *baseline.rounds))
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(
        {**asdict(baseline), "fingerprint": dict(baseline.fingerprint)}, indent=2, sort_keys=True
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LatentcyError(
            found=f"the baseline {path} cannot be written: {error.strerror or error}",
            expected="a folder that this user may write to, on a disk with room",
            do="free the place or its permissions, or record into another folder",
        ) from error


def read_baseline(path: Path) -> StoredBaseline | None:
    """Read a stored baseline; None where there is none.

    Raises:
        LatentcyError: the file is damaged, of another schema, or cannot be read.
    """
    path = Path(path)
    again = "delete the file and record it again with --benchmark-record"
    if not path.exists():
        return None
    data = _read_json(path, do=again)
    if data.get("schema") != SCHEMA:
        raise LatentcyError(
            found=f"the baseline {path} has schema {data.get('schema')!r}",
            expected=f"schema {SCHEMA}",
            do=f"use the latentcy version that wrote it, or {again}",
        )
    try:
        peak = data["peak_bytes"]
        baseline = StoredBaseline(
            case=_text(data["case"]),
            fingerprint={_text(key): _text(value) for key, value in data["fingerprint"].items()},
            seconds=data["seconds"],
            rounds=tuple(data["rounds"]),
            peak_bytes=None if peak is None else int(peak),
            recorded=_text(data["recorded"]),
        )
        _check_seconds((baseline.seconds, *baseline.rounds))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}", do=again) from error
    return baseline


def _check_seconds(values: tuple[Any, ...]) -> None:
    if len(values) < 2:
        raise ValueError("no rounds")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} is no number of seconds")
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{value!r} is no positive number of seconds")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _read_json(path: Path, *, do: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LatentcyError(
            found=f"{path} cannot be read: {error.strerror or error}",
            expected="a readable JSON file",
            do=do,
        ) from error
    except ValueError as error:  # JSON and UTF-8 errors both
        raise _damaged(path, str(error), do=do) from error
    if not isinstance(data, dict):
        raise _damaged(path, f"a {type(data).__name__} at the top", do=do)
    return data


def _damaged(path: Path, why: str, *, do: str) -> LatentcyError:
    return LatentcyError(
        found=f"{path} is damaged: {why}", expected="a JSON file as latentcy writes it", do=do
    )


def _slug(name: str) -> str:
    """A file name for any name; what had to be changed gets a digest, so that none collide."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    if slug == name:
        return slug
    return f"{slug or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
