"""Another interpreter's environment, and its cases as they are driven from this one."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.models.catalog import KNOWN
from latentcy.pipelines.variants.selection import is_object_name
from latentcy.pipelines.workload import Workload
from latentcy.remote.interpreter import check_interpreter, find_interpreter
from latentcy.remote.process import WorkerProcess


class OtherEnvironment:
    """Another Python interpreter on this machine, its cases run in one process beside this one.

    Both sides run this repository's harness; what differs is what is installed there.

    Args:
        python: the interpreter's path, or its name on the PATH.
        device: what `environment` is told of, named as `find_device` takes it.
        threads: torch's threads on a CPU there; None leaves them as torch sets them.
        limit_seconds: how long one generation, or one batch of images, may take.
        open_limit_seconds: how long it may take to start, and to load a case.
        folders: what it imports from besides its own, after it: for another process of this very
            interpreter, in which a user's modules are to be found.
        say: takes one line of progress.

    Raises:
        LatentcyError: `python` is none, is too old, lacks a package, or does not start.
    """

    def __init__(
        self,
        python: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        limit_seconds: float = 600.0,
        open_limit_seconds: float = 1800.0,
        folders: Sequence[str] = (),
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.python = find_interpreter(str(python))
        check_interpreter(self.python)
        self.limit_seconds, self.open_limit_seconds = limit_seconds, open_limit_seconds
        self._device, self._threads, self._say = device, threads, say
        self._folders = list(folders)
        self._process: WorkerProcess | None = None
        self._sampler: OtherSampler | None = None
        self.environment: dict[str, str] = self._start()

    @property
    def pid(self) -> int | None:
        """The number of the process that runs there; None while there is none."""
        return self._process.pid if self._process and not self._process.ended else None

    def open(
        self,
        *,
        model: str,
        variants_file: Path | None,
        variant_id: str,
        device: str,
        workload: Workload,
    ) -> OtherSampler:
        """Load a case there, in place of the one before it; a dead process is started anew.

        `model` is what a user gives as --model, `variant_id` is "group/name". Raises
        LatentcyError as `open_sampler` does here, and where the process dies of it.
        """
        self._sampler = None
        self._make_ready()
        sampler = OtherSampler(self, workload, variant_id)
        arguments = {
            "model": _absolute_model(model),
            "variants_file": _absolute_variants(variants_file) if variants_file else None,
            "variant_id": variant_id,
            "device": device,
            "workload": dataclasses.asdict(workload),
        }
        limit = self.open_limit_seconds
        self._ask("open", arguments, doing=f"loading {variant_id}", limit_seconds=limit)
        self._sampler = sampler
        return sampler

    def close(self) -> None:
        """End the process there. Nothing is left behind when this interpreter exits without it."""
        process, self._process, self._sampler = self._process, None, None
        if process is not None:
            process.stop()

    def ask(self, sampler: OtherSampler, verb: str, doing: str, **arguments: Any) -> Any:
        """The answer for the case that is loaded. Raises LatentcyError where it is so no more."""
        if sampler is not self._sampler or self.pid is None:
            raise LatentcyError(
                found=f"{sampler.variant_id} is no longer loaded in {self.python}",
                expected="a case that is open there",
                do="open it again",
            )
        return self._ask(
            verb,
            arguments,
            doing=f"{doing} {sampler.variant_id}",
            limit_seconds=self.limit_seconds,
        )

    def release(self, sampler: OtherSampler) -> None:
        """Let the case's pipeline go there, if it is still loaded."""
        if sampler is self._sampler and self.pid is not None:
            self.ask(sampler, "close", "closing")
            self._sampler = None

    def _make_ready(self) -> None:
        """Have a process there with no case in it, also where the last one died unnoticed."""
        if self.pid is not None:
            with contextlib.suppress(LatentcyError):
                limit = self.limit_seconds
                self._ask("close", {}, doing="closing a case", limit_seconds=limit)
        if self.pid is None:
            self._start()

    def _start(self) -> dict[str, str]:
        self._say(f"Starting {self.python}")
        self._process = WorkerProcess(self.python)
        arguments = {"device": self._device, "threads": self._threads, "folders": self._folders}
        limit = self.open_limit_seconds
        try:
            return self._ask("start", arguments, doing="starting", limit_seconds=limit)
        except BaseException:
            self.close()
            raise

    def _ask(self, verb: str, arguments: Mapping[str, Any], **limits: Any) -> Any:
        assert self._process is not None
        return self._process.ask(verb, arguments, **limits)


class OtherSampler:
    """A case loaded in another environment. Its calls raise LatentcyError where they fail there."""

    def __init__(self, home: OtherEnvironment, workload: Workload, variant_id: str) -> None:
        self.workload = workload
        self.variant_id = variant_id
        self._home = home

    def seconds(self) -> float:
        """Seconds of one generation of the workload, timed there, around the call alone."""
        return self._home.ask(self, "seconds", "timing")

    def images(self, prompts: Sequence[str], seeds: Sequence[int], *, batch: int = 4) -> np.ndarray:
        """Images of prompts[i] from seeds[i], float32 [n, height, width, 3], as they were born.

        `batch` of them are drawn at a time. Raises ValueError where the numbers differ.
        """
        if len(prompts) != len(seeds) or not prompts:
            raise ValueError(f"{len(prompts)} prompts for {len(seeds)} seeds")
        drawn = []
        for start in range(0, len(prompts), batch):
            part = slice(start, start + batch)
            shape, values = self._home.ask(
                self,
                "images",
                "drawing images of",
                prompts=[str(each) for each in prompts[part]],
                seeds=[int(each) for each in seeds[part]],
            )
            drawn.append(np.frombuffer(values, dtype=np.float32).reshape(shape))
        return np.concatenate(drawn)

    def close(self) -> None:
        """Let the pipeline go there; the process stays for the next case."""
        self._home.release(self)


def import_folders() -> list[str]:
    """The folders that this interpreter imports from."""
    return [str(Path(each).absolute()) for each in sys.path if each and Path(each).is_dir()]


def version_differences(here: Mapping[str, str], there: Mapping[str, str]) -> tuple[str, ...]:
    """What differs between two environments, a clause each: "diffusers 0.42.1 here, 0.41.0 there".

    Empty where nothing does. Of torchmetrics only this side's is used, so it is left out.
    """
    keys = [each for each in dict.fromkeys((*here, *there)) if each != "torchmetrics"]
    return tuple(
        f"{key} {here.get(key, 'absent')} here, {there.get(key, 'absent')} there"
        for key in keys
        if here.get(key) != there.get(key)
    )


def _absolute_variants(file: Path) -> str:
    """A file by its whole path; an importable object by its name, which is the same there."""
    return str(file) if is_object_name(file) else str(Path(file).absolute())


def _absolute_model(spec: str) -> str:
    """A folder by its whole path, since the other process may stand elsewhere."""
    folder = Path(spec).expanduser()
    named = spec == "auto" or spec in KNOWN
    return str(folder.absolute()) if not named and folder.is_dir() else spec
