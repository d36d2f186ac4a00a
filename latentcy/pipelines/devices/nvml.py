"""What NVIDIA's management library says of a GPU, through nvidia-ml-py where it is installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

POWER_CAP = "SW power cap"

# Bits of nvmlClocksEventReasons in nvml.h. Two are no throttling: that the GPU is idle, and clocks
# that someone has set for applications.
_IDLE, _CLOCKS_SET = 0x1, 0x2
_REASONS = {
    0x4: POWER_CAP,
    0x8: "HW slowdown",
    0x10: "sync boost",
    0x20: "SW thermal slowdown",
    0x40: "HW thermal slowdown",
    0x80: "HW power brake slowdown",
    0x100: "display clock setting",
}


@dataclass(frozen=True)
class Process:
    """A process on the device; the name is empty where it cannot be read."""

    pid: int
    name: str = ""


@dataclass(frozen=True)
class DeviceReading:
    """An NVIDIA GPU at one moment; None where it cannot be read, and `note` says why."""

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    temperature_celsius: int | None = None
    throttled_by: tuple[str, ...] | None = None
    idle: bool | None = None  # its clocks are then those of an idle GPU
    others: tuple[Process, ...] | None = None  # processes that compute on it and are not ours
    note: str = ""


def read_nvidia(index: int, *, ours: Collection[int] = ()) -> DeviceReading:
    """Read the GPU that torch calls cuda:<index>; never raises.

    Args:
        index: torch's, which CUDA_VISIBLE_DEVICES may have shifted.
        ours: ids of further processes that are not to be told as others.
    """
    try:
        import pynvml

        with _initialised(pynvml):
            return _read(pynvml, _handle(pynvml, index), {os.getpid(), *ours})
    except ImportError:
        return DeviceReading(note="nvidia-ml-py is not installed (latentcy[nvidia])")
    except Exception as error:  # whatever a driver does, the measurement goes on
        return DeviceReading(note=f"NVML cannot be used: {_line(error)}")


@contextlib.contextmanager
def _initialised(nvml: Any) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _handle(nvml: Any, index: int) -> Any:
    """The device in NVML's own numbering, which knows nothing of CUDA_VISIBLE_DEVICES."""
    properties = torch.cuda.get_device_properties(index)
    if uuid := getattr(properties, "uuid", None):
        with contextlib.suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{str(uuid).removeprefix('GPU-')}")
    place = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    if None not in place:
        domain, bus, slot = place
        return nvml.nvmlDeviceGetHandleByPciBusId(f"{domain:08X}:{bus:02X}:{slot:02X}.0")
    if (count := nvml.nvmlDeviceGetCount()) != 1:
        raise LookupError(f"this torch does not tell which of {count} GPUs cuda:{index} is")
    return nvml.nvmlDeviceGetHandleByIndex(0)


def _read(nvml: Any, handle: Any, ours: set[int]) -> DeviceReading:
    notes: list[str] = []

    def ask(what: str, *questions: Callable[[], Any]) -> Any:
        """The first question's answer that is one; newer drivers know newer questions."""
        for question in questions:
            try:
                return question()
            except Exception as error:
                why = _line(error)
        notes.append(f"{what}: {why}")
        return None

    def watts(milliwatts: int | None) -> float | None:
        return None if milliwatts is None else milliwatts / 1000

    bits = ask(
        "throttle reasons",
        lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
    )
    processes = ask("processes", lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    reading = DeviceReading(
        sm_clock_mhz=ask(
            "SM clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        ),
        memory_clock_mhz=ask(
            "memory clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)
        ),
        power_watts=watts(ask("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle))),
        power_limit_watts=watts(
            ask("power limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        ),
        temperature_celsius=ask(
            "temperature", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        ),
        throttled_by=None if bits is None else _reasons(bits),
        idle=None if bits is None else bool(bits & _IDLE),
        others=None if processes is None else _others(nvml, [one.pid for one in processes], ours),
    )
    return replace(reading, note="; ".join(notes))


def _reasons(bits: int) -> tuple[str, ...]:
    """Names of the bits that are set; an unknown one by its number."""
    rest = bits & ~(_IDLE | _CLOCKS_SET)
    single = (1 << place for place in range(rest.bit_length()) if rest >> place & 1)
    return tuple(_REASONS.get(bit, f"reason {bit:#x}") for bit in single)


def _others(nvml: Any, listed: list[int], ours: set[int]) -> tuple[Process, ...]:
    """The processes listed that are not ours.

    In a container NVML may list processes by their ids outside of it. So where one of ours is not
    listed, one that cannot be seen from here is taken for it.
    """
    hidden = len(ours - set(listed)) if torch.cuda.is_initialized() else 0
    others: list[Process] = []
    for pid in dict.fromkeys(listed):
        if pid in ours:
            continue
        if hidden and not Path(f"/proc/{pid}").exists():
            hidden -= 1
            continue
        others.append(Process(pid, _name(nvml, pid)))
    return tuple(others)


def _name(nvml: Any, pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    with contextlib.suppress(Exception):
        name = nvml.nvmlSystemGetProcessName(pid)
        name = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        return Path(name.split(" ")[0]).name
    return ""


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
