"""What a measurement was made under: clocks, heat, power, load, and who else was there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.devices.nvml import POWER_CAP, DeviceReading, Process, read_nvidia

__all__ = ["Conditions", "HostReading", "Process", "Reading", "read"]

# From here on something is said to have disturbed a measurement.
STOLEN_SHARE = 0.01
CLOCK_SHARE = 0.95  # of the clock before
LOAD_BEYOND_CORES = 0.5  # the case before this one has itself left a load as large as the cores

_PROC = Path("/proc")
_FREQUENCIES = Path("/sys/devices/system/cpu/cpufreq")


@dataclass(frozen=True)
class HostReading:
    """The computer at one moment; None where it cannot be read."""

    load_average: float | None = None  # of the last minute
    cores: int | None = None  # that this process may use
    cpu_mhz: float | None = None  # of the fastest core at the moment
    stolen_ticks: int | None = None  # since boot, by other guests of the same machine
    total_ticks: int | None = None


@dataclass(frozen=True)
class Reading:
    """The computer and, where there is an NVIDIA GPU, the device at one moment."""

    host: HostReading = HostReading()
    device: DeviceReading | None = None  # None on other devices than NVIDIA's


@dataclass(frozen=True)
class Conditions:
    """Readings just before and just after a measurement."""

    before: Reading
    after: Reading

    def marks(self) -> tuple[str, ...]:
        """Short clauses that say what may have disturbed the measurement; empty where nothing."""
        found: list[str] = []
        if self.before.device is not None and self.after.device is not None:
            found += _device_marks(self.before.device, self.after.device)
        return (*found, *_host_marks(self.before.host, self.after.host))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: both readings, and the marks."""
        return {
            "before": _plain(asdict(self.before)),
            "after": _plain(asdict(self.after)),
            "marks": list(self.marks()),
        }


def read(device: Device, *, ours: Collection[int] = ()) -> Reading:
    """Read the conditions now; what cannot be read is None, and nothing is ever raised.

    Args:
        device: that is measured.
        ours: ids of further processes that belong to this measurement, such as its workers.
    """
    nvidia = read_nvidia(device.index, ours=ours) if device.kind == "cuda" else None
    return Reading(host=_read_host(), device=nvidia)


def _device_marks(before: DeviceReading, after: DeviceReading) -> list[str]:
    found: list[str] = []
    reasons = dict.fromkeys((*(before.throttled_by or ()), *(after.throttled_by or ())))
    # Under full load a data centre's GPU runs at its power cap; only what it costs is told.
    unusual = [reason for reason in reasons if reason != POWER_CAP]
    if unusual:
        found.append(f"throttled by {' and '.join(unusual)}")
    was, now = before.sm_clock_mhz, after.sm_clock_mhz
    if was and now and not after.idle and now < CLOCK_SHARE * was:
        found.append(
            f"clock {was} -> {now} MHz{f' under {POWER_CAP}' if POWER_CAP in reasons else ''}"
        )
    others = dict.fromkeys((*(before.others or ()), *(after.others or ())))
    if others:
        names = ", ".join(f"{one.pid} {one.name}".strip() for one in others)
        found.append(
            f"{'another process' if len(others) == 1 else 'other processes'} on the device: {names}"
        )
    return found


def _host_marks(before: HostReading, after: HostReading) -> list[str]:
    found: list[str] = []
    passed = _difference(before.total_ticks, after.total_ticks)
    stolen = _difference(before.stolen_ticks, after.stolen_ticks)
    share = stolen / passed if stolen is not None and passed else 0.0
    if share > STOLEN_SHARE:
        found.append(f"{share:.1%} of the CPU's time was stolen by other guests")
    load, cores = before.load_average, before.cores
    if load is not None and cores and load > cores + LOAD_BEYOND_CORES:
        found.append(f"load average {load:.1f} on {cores} cores before the case")
    return found


def _read_host() -> HostReading:
    load = cores = None
    with contextlib.suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    with contextlib.suppress(OSError, AttributeError):
        cores = len(os.sched_getaffinity(0))
    stolen, total = _ticks()
    return HostReading(load, cores or os.cpu_count(), _cpu_mhz(), stolen, total)


def _ticks() -> tuple[int | None, int | None]:
    """Stolen and all CPU ticks since boot, by the first line of /proc/stat (proc_stat(5)).

    It reads user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user
    and nice already.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        name, *fields = (_PROC / "stat").read_text(encoding="ascii").splitlines()[0].split()
        ticks = [int(value) for value in fields[:8]]
        if name == "cpu" and len(ticks) == 8:
            return ticks[7], sum(ticks)
    return None, None


def _cpu_mhz() -> float | None:
    mhz: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        for file in _FREQUENCIES.glob("policy*/scaling_cur_freq"):
            mhz.append(int(file.read_text(encoding="ascii")) / 1000)  # of kHz
    if not mhz:
        with contextlib.suppress(OSError, ValueError):
            text = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace")
            lines = (line.partition(":") for line in text.splitlines())
            mhz = [float(value) for name, _, value in lines if name.strip() == "cpu MHz"]
    return max(mhz, default=None)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _difference(before: int | None, after: int | None) -> int | None:
    return after - before if before is not None and after is not None else None
