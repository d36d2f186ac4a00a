"""A file that is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from latentcy.errors import LatentcyError


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
