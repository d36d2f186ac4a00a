"""A JSON file that has to be there and sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentcy.errors import LatentcyError


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
