"""What a report shows: a run's records, and what else its folder tells where it does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.report.html.wording import clip
from latentcy.report.reproduce import reproduce
from latentcy.store.results import RunFile, read_run


@dataclass(frozen=True)
class RunView:
    """A run as the report shows it.

    Attributes:
        path: of the run.json.
        prompts, seeds: of the images, image i from prompt i; empty where they were not kept.
        started, run_id, commit: "" where the file does not say.
        compared: the environments that this run was held against, by name.
        command: the arguments of the run's command line.
        plain: each record as it stands in the file, for what `Record` does not know.
    """

    path: Path
    run: RunFile
    prompts: tuple[str, ...]
    seeds: tuple[str, ...]
    started: str
    run_id: str
    commit: str
    command: tuple[str, ...]
    compared: Mapping[str, Mapping[str, str]]
    plain: tuple[Mapping[str, Any], ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The run's records."""
        return self.run.records

    @property
    def images(self) -> Path:
        """The folder of the cases' images, one folder a case."""
        return self.path.parent / "images"


def read_shown(path: Path) -> RunView:
    """Reads a `run.json`, or that of a results folder.

    Raises LatentcyError where it is missing, damaged, of another schema, or something else.
    """
    path = path / "run.json" if path.is_dir() else path
    try:
        run = read_run(path)
        data = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise _damaged(path, "it is nested too deeply") from error
    for record in run.records:
        wrong = _wrong(record)
        if wrong:
            raise _damaged(path, wrong)
    about = data["about"] if isinstance(data.get("about"), Mapping) else {}
    return RunView(
        path=path,
        run=run,
        prompts=_texts(about.get("prompts")),
        seeds=_texts(about.get("seeds")),
        started=_text(about, "started"),
        run_id=_text(about, "id"),
        commit=_text(about, "commit"),
        command=_texts(about.get("command")),
        compared=_environments(data.get("compared")),
        plain=tuple(data["records"]),
    )


def run_again(record: Record, plain: Mapping[str, Any], command: Sequence[str]) -> str:
    """The command that runs the case again: the file's own, where it names one."""
    for place in (plain, *plain.get("verdicts", ())):
        named = place.get("reproduce") if isinstance(place, Mapping) else None
        if isinstance(named, str) and named:
            return clip(named)
    return clip(reproduce(record, command))


def profile(plain: Mapping[str, Any], part: str) -> dict[str, Mapping[str, Any]]:
    """A part of a case's quality profile, "alone" or "against" its reference; {} without one.

    For each metric mean, low, high, worst and n, as `latentcy.measure.images.profile` writes them.
    """
    whole = plain.get("profile")
    metrics = whole.get(part) if isinstance(whole, Mapping) else None
    if not isinstance(metrics, Mapping):
        return {}
    return {str(name): one for name, one in metrics.items() if isinstance(one, Mapping)}


def figure(value: object) -> object:
    """A number from JSON, where NaN and infinities stand as text; anything else is None."""
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _wrong(record: Record) -> str:
    """What in a record is of another kind than it has to be; "" for a sound one."""
    texts = [record.case, record.model, record.group, record.variant, record.changes, record.device]
    for verdict in record.verdicts:
        texts += [verdict.gate, verdict.status, verdict.reason]
    if not all(isinstance(text, str) for text in texts):
        return "a record's name or verdict is no text"
    return ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(clip(one, 2000) for one in value) if isinstance(value, list) else ()


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return clip(value, 200) if isinstance(value, (str, int, float)) else ""


def _environments(value: object) -> dict[str, Mapping[str, str]]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): one for name, one in value.items() if isinstance(one, Mapping)}


def _damaged(path: Path, why: str) -> LatentcyError:
    return LatentcyError(
        found=f"{path}, which is damaged: {why}",
        expected="a run.json, as latentcy writes it",
        do="run it again",
    )
