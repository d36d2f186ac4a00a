"""Where it runs: a device's identity, its precision switches, its clock and its memory."""

from __future__ import annotations

import contextlib
import difflib
import gc
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from latentcy.core.errors import LatentcyError


@dataclass(frozen=True)
class Device:
    """One device; `slug` names it in paths and stays the same from run to run."""

    kind: str  # "cpu" | "cuda" | "mps"
    index: int
    name: str
    slug: str
    capability: tuple[int, int] | None = None  # NVIDIA compute capability
    memory_bytes: int | None = None
    driver: str | None = None
    threads: int | None = None  # of torch, on a CPU
    cores: int | None = None  # threads of torch on a CPU where nothing is timed; None: as many

    @property
    def torch(self) -> torch.device:
        """The device as torch names it."""
        return (
            torch.device(self.kind, self.index) if self.kind == "cuda" else torch.device(self.kind)
        )


def find_device(spec: str = "auto") -> Device:
    """The device meant by "auto", "cpu", "cuda", "cuda:N" or "mps".

    "auto" is CUDA where torch can use it, else the CPU. Raises LatentcyError for a device
    that is not there, with the reason, and for a name that is none of these.
    """
    if spec == "auto":
        spec = "cuda" if torch.cuda.is_available() else "cpu"
    if spec == "cpu":
        return _cpu()
    if spec == "mps":
        return _mps()
    if match := re.fullmatch(r"cuda(?::(\d+))?", spec):
        return _cuda(int(match[1] or 0))
    known = ["auto", "cpu", "cuda", "mps"]
    near = difflib.get_close_matches(spec, known, n=1)
    raise LatentcyError(
        found=f"a device named {spec!r}",
        expected="auto, cpu, cuda, cuda:N or mps",
        do=f"use {near[0]!r}" if near else "use one of those names",
    )


def emulates(device: Device, dtype: str) -> bool:
    """Whether a CPU has no arithmetic for "float16" or "bfloat16", and torch computes it in fp32.

    That takes 6 to 8 times as long as fp32 (measured with the miniature, AVX2 alone). False on
    other devices, for other dtypes, and where torch does not say.
    """
    name = {"float16": "fp16", "bfloat16": "bf16"}.get(dtype)
    if device.kind != "cpu" or name is None:
        return False
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return supported is not None and not supported()


@contextlib.contextmanager
def all_cores(device: Device) -> Iterator[None]:
    """As many of torch's threads as the CPU has cores, for what no clock looks at."""
    before = torch.get_num_threads()
    if device.cores:
        torch.set_num_threads(device.cores)
    try:
        yield
    finally:
        if device.cores:
            torch.set_num_threads(before)


def synchronize(device: Device) -> None:
    """Wait until the device has done all work queued on it."""
    if device.kind == "cuda":
        torch.cuda.synchronize(device.index)
    elif device.kind == "mps":
        torch.mps.synchronize()


def free(device: Device) -> None:
    """Give unreferenced memory back, to the allocator and from its cache to the device."""
    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


def tf32_switches() -> dict[str, bool]:
    """Whether tf32 is on now for "convolutions" and for "matrix products"."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        conv = torch.backends.cudnn.conv.fp32_precision
        return {"convolutions": conv == "tf32", "matrix products": matmul.fp32_precision == "tf32"}
    return {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "matrix products": matmul.allow_tf32,
    }


@contextlib.contextmanager
def switches(*, tf32: bool) -> Iterator[None]:
    """TensorFloat-32 on or off, for matrix products and convolutions alike; restored on exit.

    Torch leaves it off for products and on for convolutions, so a true fp32 baseline has to
    turn it off. From torch 2.9 on only `fp32_precision` is read and written, before it only
    `allow_tf32`: mixing the two raises or reads stale values (pytorch#179445).
    """
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        holders, attribute = (matmul, torch.backends.cudnn.conv), "fp32_precision"
        wanted: str | bool = "tf32" if tf32 else "ieee"
    else:
        holders, attribute = (matmul, torch.backends.cudnn), "allow_tf32"
        wanted = tf32
    before = [getattr(holder, attribute) for holder in holders]
    try:
        for holder in holders:
            setattr(holder, attribute, wanted)
        yield
    finally:
        for holder, value in zip(holders, before, strict=True):
            setattr(holder, attribute, value)


@dataclass
class PeakMemory:
    """The most memory in use, in bytes; None until known, or where it cannot be read."""

    bytes: int | None = None


@contextlib.contextmanager
def peak_memory(device: Device) -> Iterator[PeakMemory]:
    """Measure the peak inside the block; `.bytes` is set when it ends.

    CUDA: what torch's allocator had handed out at once. CPU: the resident set of the whole
    process (VmHWM, reset through /proc/self/clear_refs), so Linux only; None elsewhere.
    """
    peak = PeakMemory()
    if device.kind == "cuda":
        torch.cuda.synchronize(device.index)
        torch.cuda.reset_peak_memory_stats(device.index)
    resettable = device.kind == "cpu" and _reset_high_water()
    try:
        yield peak
    finally:
        if device.kind == "cuda":
            peak.bytes = torch.cuda.max_memory_allocated(device.index)
        elif resettable:
            peak.bytes = _high_water()


def is_out_of_memory(error: BaseException) -> bool:
    """True for an exhausted GPU or CPU allocator, also as the cause of another exception.

    False says only that the message is none of those that torch is known to give.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (MemoryError, torch.cuda.OutOfMemoryError)):
            return True
        if isinstance(seen, RuntimeError) and re.search(
            r"not enough memory|out of memory|can't allocate memory|cannot allocate memory",
            str(seen),
            re.IGNORECASE,
        ):
            return True
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return False


def environment(device: Device) -> dict[str, str]:
    """Versions and identities that a measurement depends on, as text; absent ones left out."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "os": platform.platform(),
        "device": device.name,
        "driver": device.driver,
        "threads": str(device.threads) if device.threads else None,
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version() or "") if torch.version.cuda else None,
    }
    for package in ("torch", "diffusers", "transformers", "torchmetrics", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    found["torch"] = torch.__version__  # the wheel's metadata can lack "+cpu" or "+cu126"
    return {key: value for key, value in found.items() if value}


def _cpu() -> Device:
    name, threads = _cpu_name(), torch.get_num_threads()
    return Device(
        kind="cpu",
        index=0,
        name=name,
        slug=f"{_slug(name)}-{threads}-threads",
        memory_bytes=_system_memory(),
        threads=threads,
    )


def _mps() -> Device:
    if not torch.backends.mps.is_available():
        raise LatentcyError(
            found="no Metal (mps) device that torch can use",
            expected="an Apple GPU and a torch built for it",
            do="use --device cpu",
        )
    name = f"{_cpu_name()} GPU"
    return Device(kind="mps", index=0, name=name, slug=_slug(name), memory_bytes=_system_memory())


def _cuda(index: int) -> Device:
    if not torch.backends.cuda.is_built():
        raise LatentcyError(
            found=f"torch {torch.__version__}, a build without CUDA",
            expected="a torch built for CUDA",
            do="install the CUDA build of torch, or use --device cpu",
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise LatentcyError(
            found=f"no GPU that torch {torch.__version__} can use",
            expected=f"an NVIDIA GPU with a driver for CUDA {torch.version.cuda}",
            do="check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
        )
    if index >= count:
        raise LatentcyError(
            found=f"{count} CUDA device(s)",
            expected=f"a device cuda:{index}",
            do=f"use cuda:0 to cuda:{count - 1}",
        )
    try:
        properties = torch.cuda.get_device_properties(index)
    except RuntimeError as error:
        raise LatentcyError(
            found=f"cuda:{index}, which cannot be used ({str(error).splitlines()[0]})",
            expected="a GPU that is free to use",
            do="check nvidia-smi, or use --device cpu",
        ) from error
    nvidia = torch.version.hip is None
    return Device(
        kind="cuda",
        index=index,
        name=properties.name,
        slug=_slug(properties.name),
        capability=(properties.major, properties.minor) if nvidia else None,
        memory_bytes=properties.total_memory,
        driver=_nvidia_driver() if nvidia else None,
    )


def _slug(name: str) -> str:
    """Lower case letters, digits and single dashes; trademark signs and clock rates go."""
    plain = re.sub(r"\((r|tm)\)|@.*$|\bcpu\b|\bprocessor\b", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unknown"


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE):
            return match[1].strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
            return name.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def _system_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _nvidia_driver() -> str | None:
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text, re.MULTILINE):
            return match[1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None
    return None


def _reset_high_water() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        if match := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(match[1]) * 1024
    return None
