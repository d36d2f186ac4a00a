"""Two folders of pictures, held against each other by name."""

from __future__ import annotations

from pathlib import Path

from latentcy.assertions.given_images import given_pair
from latentcy.assertions.images import judge_same_images
from latentcy.assertions.pictures import keep_pictures, read_picture
from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import PASSED, Verdict

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def compare_folders(candidate: Path, reference: Path, *, like: str) -> tuple[Verdict, Path | None]:
    """The verdict on the candidate's pictures, and a sheet of the worst where it is no pass.

    Raises LatentcyError where a folder is none, holds no pictures, or not those of the other.
    """
    names = [_names(folder) for folder in (candidate, reference)]
    alone = sorted(set(names[0]) ^ set(names[1]))
    if alone:
        where = candidate if alone[0] in names[0] else reference
        raise LatentcyError(
            found=f"{len(alone)} pictures that only one folder has, such as {where / alone[0]}",
            expected="pictures of the same names in both",
            do="generate both with the same prompts and seeds",
        )
    do = "generate it again, or take it out of both folders"
    here, there = given_pair(
        *(
            [read_picture(folder / name, expected="a picture", do=do) for name in names[0]]
            for folder in (candidate, reference)
        )
    )
    verdict, differences = judge_same_images(here, there, like)
    kept = None if verdict.status == PASSED else keep_pictures(here, there, differences)
    return verdict, kept


def _names(folder: Path) -> list[str]:
    found = (
        [one.name for one in folder.iterdir() if one.suffix.lower() in KINDS]
        if (folder.is_dir())
        else []
    )
    if not found:
        raise LatentcyError(
            found=f"no pictures in {folder}" if folder.is_dir() else f"no folder {folder}",
            expected=f"a folder with pictures ({', '.join(KINDS)})",
            do="correct the path",
        )
    return sorted(found)
