"""What a record, or a plain benchmark's machine, says in the history's terms.

A record is read by the names of its fields and not through `Record`, so that what an older or a
newer latentcy wrote can be remembered as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy import special

from latentcy.store.history.rows import (
    CLIP,
    LATENCY,
    MEMORY,
    RATIO,
    SPEEDUP,
    SSIM,
    Environment,
    Measurement,
)

# Numbers of a record that are no result of its own.
_NO_METRIC = ("schema", "yardstick_seconds", "published_seconds", "published_speedup")

# Field, metric, unit, gate.
_FIELDS = (
    ("seconds", LATENCY, "s", "latency"),
    ("speedup", SPEEDUP, "", "speed"),
    ("peak_bytes", MEMORY, "bytes", "memory"),
    ("clip", CLIP, "", "CLIP"),
    ("ssim", SSIM, "", "SSIM"),
)

_OLDER_GATES = {"CLIP": "quality", "SSIM": "quality"}  # in records before schema 4

_SUMMARIES = ("profile", "quality")


def record_measurements(record: Mapping[str, Any], environment: Environment) -> list[Measurement]:
    """The numbers of one record, as `Record.to_dict` writes it, now or in any other version."""
    case = str(record["case"])
    seen = _record_environment(record, environment)
    own = None if seen == environment else seen
    judged = _statuses(record)
    comparison = record.get("comparison") or {}
    bounds = {LATENCY: median_bounds(record.get("rounds") or ())}
    low, high = finite(comparison.get("low")), finite(comparison.get("high"))
    if low and high and low > 0:
        bounds[SPEEDUP] = (1 / high, 1 / low)
    found = []
    for field, metric, unit, gate in _FIELDS:
        if record.get(field) is not None:
            value = finite(record[field])
            low_high = bounds.get(metric, (None, None))
            status = judged.get(gate, judged.get(_OLDER_GATES.get(gate, ""), ""))
            found.append(Measurement(case, metric, value, *low_high, unit, status, own))
    if finite(comparison.get("ratio")) is not None:
        status = judged.get("speed", "")
        found.append(
            Measurement(case, RATIO, finite(comparison["ratio"]), low, high, "", status, own)
        )
    found += [
        Measurement(case, name, value, low, high, _unit(name), "", own)
        for name, (value, low, high) in _others(record)
    ]
    return found


def run_environment(values: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> Environment:
    """The environment of a run of records: its values, and the first record's device."""
    device = str(records[0].get("device", "")) if records else ""
    return Environment(_fingerprint({"device": device, **_pick(values)}), values)


def machine_environment(info: Mapping[str, Any]) -> Environment:
    """The environment of a plain file; the host's name tells machines apart only if need be."""
    told = info.get("cpu")
    cpu: Mapping[str, Any] = told if isinstance(told, dict) else {}
    brand = cpu.get("brand_raw") or cpu.get("brand") or cpu.get("vendor_id_raw")
    name = brand or " ".join(
        str(info[key]) for key in ("processor", "machine", "node") if info.get(key)
    )
    values = {
        "python": info.get("python_version"),
        "implementation": info.get("python_implementation"),
        "os": " ".join(str(info[key]) for key in ("system", "release") if info.get(key)),
        "device": name,
        "host": info.get("node"),
    }
    identity = {"device": name, "cores": cpu.get("count") or ""}
    return Environment(_fingerprint(identity), {k: str(v) for k, v in values.items() if v})


def _record_environment(record: Mapping[str, Any], run: Environment) -> Environment:
    """The record's own: shards of one run may have been measured on several machines."""
    values = texts(record.get("environment") or {}) or dict(run.values)
    identity = {"device": str(record.get("device") or values.get("device", "")), **_pick(values)}
    known = record.get("fingerprint")
    if isinstance(known, Mapping):
        more = {key: str(known[key]) for key in ("device_count", "weights", "workload")
                if known.get(key)}  # fmt: skip
        identity.update(more)
    if record.get("paired_with"):
        values["paired with"] = str(record["paired_with"])
    return Environment(_fingerprint(identity), values)


def _pick(values: Mapping[str, str]) -> dict[str, str]:
    return {"threads": values.get("threads", "")}


def _fingerprint(identity: Mapping[str, Any]) -> str:
    """What must agree between two numbers of one series, in words."""
    return "; ".join(f"{name}: {value}" for name, value in identity.items() if value)


def _statuses(record: Mapping[str, Any]) -> dict[str, str]:
    """The worst status of each gate."""
    order = ("passed", "inconclusive", "failed")
    found: dict[str, str] = {}
    for verdict in record.get("verdicts") or ():
        gate, status = verdict["gate"], verdict["status"]
        if status in order:
            found[gate] = max(found.get(gate, status), status, key=order.index)
    return found


def _others(record: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float | None, ...]]]:
    """Numbers of a record that this module has no name for, by the name that they have there."""
    known = {field for field, *_ in _FIELDS} | set(_NO_METRIC)
    for name, value in record.items():
        if name in _SUMMARIES and isinstance(value, Mapping):
            yield from _leaves(name, value)
        elif name not in known and _is_number(value):
            yield name, (finite(value), None, None)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, tuple[float | None, ...]]]:
    if _is_number(value):
        yield name, (finite(value), None, None)
    elif isinstance(value, Mapping):
        middle = next((value[key] for key in ("value", "mean") if _is_number(value.get(key))), None)
        if middle is not None:
            yield name, (finite(middle), finite(value.get("low")), finite(value.get("high")))
            return
        for key, one in value.items():
            yield from _leaves(f"{name}.{key}", one)


def _unit(name: str) -> str:
    words = name.replace(".", "_").split("_")
    return "s" if "seconds" in words else "bytes" if "bytes" in words else ""


def median_bounds(times: Sequence[Any]) -> tuple[float | None, float | None]:
    """Bounds of the median with 95 % confidence or more; (None, None) for fewer than 6 times.

    The order statistics whose ranks a binomial draw of n halves leaves outside with 5 % at most
    (Hollander, Wolfe & Chicken 2014, section 3.6).
    """
    numbers = sorted(one for one in map(finite, times) if one is not None)
    outside, n = 0, len(numbers)
    while special.bdtr(outside, n, 0.5) <= 0.025 and outside < n // 2:
        outside += 1
    return (numbers[outside - 1], numbers[-outside]) if outside else (None, None)


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items() if value not in (None, "")}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def finite(value: Any) -> float | None:
    """A number, also one written as text; None for what is none, or not finite."""
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None
