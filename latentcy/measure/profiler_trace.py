"""A generation under torch.profiler: a Chrome trace as a file, and the top operators as text."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentcy.core.costs import STAGES
from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import synchronize
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import at_stages, with_few_steps

WIDTH = 100


def write_trace(sampler: Sampler, path: str | Path, *, steps: int | None = None) -> Path:
    """Profile one generation and write its Chrome trace to `path`; returns the path.

    See `profile_generation` and `Profile.write`; that the file can be written is known before
    anything is generated.
    """
    _check_writable(Path(path))
    return profile_generation(sampler, steps=steps).write(path)


def profile_generation(sampler: Sampler, *, steps: int | None = None) -> Profile:
    """One generation of the workload under torch.profiler, its stages labelled as in STAGES.

    `steps` shortens the denoising; None keeps the workload's. A cold sampler's compilation
    would be in the trace: generate once before. Times in it are longer than without it.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if sampler.device.kind == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    labels = _Labels()
    with (
        with_few_steps(sampler, steps) as short,
        torch.profiler.profile(activities=activities) as profiler,
        at_stages(sampler.pipeline, labels.enter),
    ):
        short.generate()
        synchronize(sampler.device)
    return Profile(profiler, on_cuda=sampler.device.kind == "cuda")


class Profile:
    """What the profiler saw of one generation."""

    def __init__(self, profiler: torch.profiler.profile, *, on_cuda: bool) -> None:
        self._profiler = profiler
        self._on_cuda = on_cuda

    def write(self, path: str | Path) -> Path:
        """Write the Chrome trace, JSON or, where the name ends in .gz, gzip; whole or not at all.

        chrome://tracing and ui.perfetto.dev open it. Raises LatentcyError where it cannot be
        written.
        """
        path = Path(path)
        _check_writable(path)
        try:
            with tempfile.TemporaryDirectory(prefix=".trace-", dir=path.parent) as folder:
                made = Path(folder) / "trace.json"
                self._profiler.export_chrome_trace(str(made))
                _check_whole(made)
                if path.suffix == ".gz":
                    made = _compressed(made)
                os.replace(made, path)
        except (OSError, RuntimeError) as error:
            raise _unwritable(path, error) from error
        return path

    def operators(self) -> list[Operator]:
        """Operators by their own seconds on a CPU, kernels by theirs on a GPU; longest first."""
        averages = self._profiler.key_averages()
        rows = [self._operator(each) for each in averages if self._counts(each)]
        return sorted(rows, key=lambda one: one.seconds, reverse=True)

    def summary(self, rows: int = 10) -> str:
        """The top operators as text, at most 100 columns."""
        return operators_table(
            self.operators(), rows, kind="kernel" if self._on_cuda else "operator"
        )

    def _counts(self, average: Any) -> bool:
        on_cuda = average.device_type == torch.autograd.DeviceType.CUDA
        return average.key not in STAGES and on_cuda == self._on_cuda

    def _operator(self, average: Any) -> Operator:
        # Called self_cuda_time_total until torch 2.4.
        name = "self_device_time_total" if self._on_cuda else "self_cpu_time_total"
        if not hasattr(average, name):
            name = "self_cuda_time_total"
        return Operator(average.key, average.count, getattr(average, name) / 1e6)


@dataclass(frozen=True)
class Operator:
    """One operator or kernel; seconds of all calls, without what it calls in turn."""

    name: str
    calls: int
    seconds: float


def operators_table(operators: Sequence[Operator], rows: int = 10, *, kind: str) -> str:
    """Draw the first rows with their share of the seconds of all."""
    whole = sum(one.seconds for one in operators)
    wide = WIDTH - 30
    lines = [f"{kind:<{wide}}  {'calls':>7}  {'seconds':>9}  {'share':>6}"]
    lines.append("  ".join("-" * width for width in (wide, 7, 9, 6)))
    for one in operators[:rows]:
        name = " ".join(one.name.split())
        name = name if len(name) <= wide else name[: wide - 1] + "~"
        share = f"{one.seconds / whole:.1%}" if whole else "-"
        lines.append(f"{name:<{wide}}  {one.calls:>7}  {one.seconds:>9.4f}  {share:>6}")
    if len(operators) > rows:
        lines.append(f"and {len(operators) - rows} more")
    return "\n".join(lines)


class _Labels:
    """A record_function around each stage."""

    def __init__(self) -> None:
        self._open: Any = None

    def enter(self, stage: str | None) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open = None if stage is None else torch.profiler.record_function(stage)
        if self._open is not None:
            self._open.__enter__()


def _check_writable(path: Path) -> None:
    """Raises LatentcyError unless a file can be made in the path's folder, which is made."""
    if path.is_dir():
        raise LatentcyError(
            found=f"{path}, which is a folder",
            expected="the name of a file for the trace",
            do="add a name such as trace.json.gz",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


def _check_whole(made: Path) -> None:
    """Raises OSError where the profiler, which reports no error, left less than a JSON object."""
    with made.open("rb") as file:
        file.seek(max(0, made.stat().st_size - 64))
        if not file.read().rstrip().endswith(b"}"):
            raise OSError("the trace was cut off, as on a full disk")


def _compressed(made: Path) -> Path:
    target = made.with_suffix(".json.gz")
    with made.open("rb") as plain, gzip.open(target, "wb", compresslevel=5) as packed:
        shutil.copyfileobj(plain, packed)
    return target


def _unwritable(path: Path, error: BaseException) -> LatentcyError:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return LatentcyError(
        found=f"the trace {path}, which cannot be written ({said})",
        expected="a folder that can be written to, with room for the trace",
        do="choose another path for the trace",
    )
