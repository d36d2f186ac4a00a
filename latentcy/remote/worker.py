"""The other side: answers this side's requests, run by the other environment's interpreter.

It is given a channel and needs only torch, diffusers, transformers and numpy there, so nothing
here may import the judges, pytest or execnet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import environment, find_device, free
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import EVERY, Variant, load_variants, merge, select
from latentcy.pipelines.workload import Workload


class Channel(Protocol):
    """What is used of execnet's channel; it carries plain Python values only."""

    def send(self, item: object) -> None:
        """Send one value to the other side."""

    def receive(self) -> Any:
        """Wait for one value; raises EOFError when there will be no more."""


class Worker:
    """One environment's answers; it holds at most one loaded pipeline."""

    def __init__(self) -> None:
        self._sampler: Sampler | None = None
        self._users: dict[str, tuple[Variant, ...] | LatentcyError] = {}

    def start(
        self, *, device: str, threads: int | None, folders: Sequence[str] = ()
    ) -> dict[str, str]:
        """Torch's thread count is set, and the environment told as it is seen here.

        `folders` are imported from after all others, so that a user's own modules are found.
        """
        sys.path += [each for each in folders if each not in sys.path]
        if threads is not None:
            torch.set_num_threads(threads)
        seen = environment(find_device(device))
        return {key: str(value) for key, value in seen.items()}  # torch's is a kind of str

    def open(
        self,
        *,
        model: str,
        variants_file: str | None,
        variant_id: str,
        device: str,
        workload: Mapping[str, Any],
    ) -> None:
        """Load the case in place of the one before it."""
        self.close()
        where = find_device(device)
        try:
            variant = self._variant(variant_id, variants_file)
            resolved, _ = resolve_model(model, where)
            self._sampler = open_sampler(resolved, variant, where, Workload(**workload))
        except BaseException:
            free(where)
            raise

    def seconds(self) -> float:
        """Seconds of one generation of the workload, the device idle before and after it."""
        return self._opened().seconds()

    def images(
        self, *, prompts: Sequence[str], seeds: Sequence[int]
    ) -> tuple[tuple[int, ...], bytes]:
        """One batch: the shape [n, height, width, 3], and the float32 values as bytes."""
        images = self._opened().generate(prompts, seeds).images
        return tuple(int(each) for each in images.shape), np.ascontiguousarray(images).tobytes()

    def close(self) -> None:
        """Let the pipeline go, if there is one."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.close()

    def _opened(self) -> Sampler:
        if self._sampler is None:
            raise RuntimeError("no case is loaded")
        return self._sampler

    def _variant(self, variant_id: str, variants_file: str | None) -> Variant:
        """The variant by its id. A file that does not import takes only its own variants along.

        The file is run for built-in variants too, as it is on the other side of the pair.
        """
        user = self._user_variants(variants_file) if variants_file else ()
        builtin = variant_id in {each.id for each in EVERY}
        if isinstance(user, LatentcyError):
            if not builtin:
                raise user
            user = ()
        return select((variant_id,), EVERY if builtin else merge(EVERY, user))[0]

    def _user_variants(self, file: str) -> tuple[Variant, ...] | LatentcyError:
        """The file's variants or why there are none; it is run once in a process."""
        if file not in self._users:
            try:
                self._users[file] = load_variants(Path(file))
            except LatentcyError as error:
                self._users[file] = error
        return self._users[file]


def serve(channel: Channel) -> None:
    """Answer requests (verb, arguments) until the channel ends.

    An answer is ("value", value), ("error", found, expected, do) for a LatentcyError, or
    ("raised", type, message) for any other exception.
    """
    worker = Worker()
    verbs: dict[str, Callable[..., Any]] = {
        each.__name__: each
        for each in (worker.start, worker.open, worker.seconds, worker.images, worker.close)
    }
    while True:
        verb, arguments = channel.receive()
        channel.send(_answer(verbs[verb], arguments))


def _answer(do: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    try:
        return ("value", do(**arguments))
    except LatentcyError as error:
        return ("error", str(error.found), str(error.expected), str(error.do))
    except (Exception, SystemExit) as error:
        return ("raised", type(error).__name__, str(error))
