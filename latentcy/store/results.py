"""The results folder: everything measured so far, on disk as soon as it is known."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from latentcy.core.errors import LatentcyError
from latentcy.core.record import Record
from latentcy.core.run_info import About

if TYPE_CHECKING:
    import numpy as np

# 1: the first. 2: the run's identity.
SCHEMA = 2
READABLE = (1, SCHEMA)


@dataclass(frozen=True)
class RunFile:
    """What a `run.json` holds: why that model, the environment, the records, and which run it is.

    `about` is None for one of schema 1.
    """

    reason: str
    environment: Mapping[str, str]
    records: tuple[Record, ...]
    about: About | None = None

    @property
    def interrupted(self) -> str:
        """How far it came, where it did not come to its end; else ""."""
        return self.about.interrupted if self.about else ""


def read_run(path: Path) -> RunFile:
    """Reads a `run.json`, or that of a results folder.

    Raises LatentcyError where it is missing, damaged, of another schema, or something else.
    """
    path = path / "run.json" if path.is_dir() else path
    expected = f"a run.json of schema {SCHEMA}, as latentcy writes it"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LatentcyError(
            found=f"{path}, which cannot be read ({error.strerror or error})",
            expected=expected,
            do="check the path",
        ) from error
    except (ValueError, RecursionError) as error:
        raise LatentcyError(
            found=f"{path}, which is no JSON ({error})", expected=expected, do="run it again"
        ) from error
    if not isinstance(data, dict) or data.get("schema") not in READABLE:
        schema = data.get("schema") if isinstance(data, dict) else None
        raise LatentcyError(
            found=f"{path}, with schema {schema!r}",
            expected=expected,
            do="read it with the latentcy version that wrote it",
        )
    try:
        records = tuple(Record.from_dict(one) for one in data["records"])
        about = About.from_dict(data["about"]) if data.get("about") else None
        return RunFile(str(data["model"]), dict(data["environment"]), records, about)
    except (KeyError, TypeError, ValueError) as error:
        raise LatentcyError(
            found=f"{path}, which is damaged ({type(error).__name__}: {error})",
            expected=expected,
            do="run it again",
        ) from error
    except LatentcyError as error:
        raise LatentcyError(
            found=f"{path}: {error.found}", expected=error.expected, do=error.do
        ) from error


class Results:
    """Writes `run.json` after every step, each case's images, and `images.png` at the end.

    Args:
        folder: made where it is not there.
        about: which run it is.

    Raises:
        LatentcyError: the folder cannot be written.
    """

    def __init__(self, folder: Path, about: About | None = None) -> None:
        self.folder, self.about = folder, about
        self._rows: dict[str, np.ndarray] = {}
        self._texts: dict[str, tuple[Record, str]] = {}  # by case: what was last written of it
        self._write_whole(folder / "run.tmp", b"")  # fails now rather than after the first case
        (folder / "run.tmp").unlink()

    def write(self, reason: str, environment: Mapping[str, str], records: Sequence[Record]) -> None:
        """Replaces `run.json` as a whole, so that an interrupted run leaves a readable file."""
        run = {
            "schema": SCHEMA,
            "model": reason,
            "environment": dict(environment),
            "about": self.about.to_dict() if self.about else None,
        }
        head = json.dumps(run, indent=1).removesuffix("\n}")
        texts = ",\n".join(map(self._text, records))
        text = f'{head},\n "records": [\n{texts}\n ]\n}}\n'
        self._write_whole(self.folder / "run.json", text.encode())

    def _text(self, record: Record) -> str:
        """The record's JSON, made anew only where it has changed; all are written often."""
        known = self._texts.get(record.case)
        if known is None or known[0] is not record:
            text = textwrap.indent(json.dumps(record.to_dict(), indent=1), "  ")
            known = self._texts[record.case] = record, text
        return known[1]

    def end(self, interrupted: str) -> None:
        """Says from now on how far the run came; "" for a whole one."""
        if self.about is not None:
            self.about = replace(self.about, interrupted=interrupted)

    def keep_images(self, label: str, images: np.ndarray, *, in_picture: bool = True) -> None:
        """Writes a case's images, float [n, h, w, 3] in 0..1, as `images/<label>/NNN.png`.

        Large ones are kept small as well, for the page. Their first ones become a row of the
        picture, unless `in_picture` is False. Non-finite pixels are magenta.
        """
        from latentcy.store.image_grid import COLUMNS, picture_of
        from latentcy.store.thumbnails import write_tiles

        if in_picture:
            self._rows[label] = images[:COLUMNS]
        place = self.folder / "images" / label
        try:
            place.mkdir(parents=True, exist_ok=True)
            for earlier in place.glob("*.png"):
                earlier.unlink()
            pictures = [picture_of(image) for image in images]
            for index, picture in enumerate(pictures):
                picture.save(place / f"{index:03}.png")
            write_tiles(place, pictures)
        except OSError as error:
            raise _unwritable(place, error) from error

    def adopt_images(self, folder: Path) -> None:
        """Takes over the images that another process left in its own results folder."""
        import numpy as np
        from PIL import Image

        from latentcy.store.thumbnails import image_files

        for place in sorted((folder / "images").glob("*/")):
            pictures = [np.asarray(Image.open(one)) / 255 for one in image_files(place)]
            if pictures:
                self.keep_images(place.name, np.stack(pictures))

    @property
    def has_images(self) -> bool:
        """Whether `write_grid` has something to draw."""
        return bool(self._rows)

    def write_grid(self, prompts: Sequence[str]) -> Path | None:
        """Writes `images.png`, one row a case and one column a prompt; None without images."""
        if not self._rows:
            return None
        from latentcy.store.image_grid import grid

        path = self.folder / "images.png"
        picture = grid(self._rows, prompts)
        part = path.with_suffix(".part.png")
        try:
            picture.save(part)
            os.replace(part, path)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    def _write_whole(self, path: Path, content: bytes) -> None:
        part = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            os.replace(part, path)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> LatentcyError:
    return LatentcyError(
        found=f"{path}, which cannot be written ({error.strerror or error})",
        expected="a folder that this user may write to, on a disk with room",
        do="name another folder with --results",
    )
