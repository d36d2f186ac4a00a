"""Files: written whole or not at all, and read with a message where they are damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from latentcy.core.errors import LatentcyError


def write_whole(path: Path, content: bytes, what: str) -> None:
    """Writes a temporary file beside `path`, then renames it once.

    Raises LatentcyError, with `what` the file is, where the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LatentcyError(
            found=f"{what} {path} cannot be written: {error.strerror or error}",
            expected="a folder that this user may write to, on a disk with room",
            do="free the place or its permissions, or record into another folder",
        ) from error


def read_json(path: Path, *, do: str) -> dict[str, Any]:
    """The object in a JSON file. Raises LatentcyError, with `do`, where there is none to read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LatentcyError(
            found=f"{path} cannot be read: {error.strerror or error}",
            expected="a readable JSON file",
            do=do,
        ) from error
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors both; nested too deep
        raise damaged(path, str(error), do=do) from error
    if not isinstance(data, dict):
        raise damaged(path, f"a {type(data).__name__} at the top", do=do)
    return data


def damaged(path: Path, why: str, *, do: str) -> LatentcyError:
    """What to raise for a file that holds something else."""
    return LatentcyError(
        found=f"{path} is damaged: {why}", expected="a JSON file as latentcy writes it", do=do
    )
