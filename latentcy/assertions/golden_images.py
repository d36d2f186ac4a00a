"""Golden images of one's own tests: stored when they were good, and held against ever since."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentcy.assertions.given_images import given_images
from latentcy.assertions.images import assert_not_black, assert_same_images
from latentcy.assertions.pictures import read_picture
from latentcy.core.errors import LatentcyError
from latentcy.core.files import write_whole
from latentcy.core.verdict import PASSED, Verdict

__tracebackhide__ = True  # pytest shows the line of the test

_STORED = "a PNG file, as --benchmark-record stores it"
_RESTORE = "restore it, or store the images anew with pytest --benchmark-record"


class GoldenImages:
    """The stored images of one file of tests, a PNG file for each image.

    Args:
        folder: where they lie.
        record: whether images are stored, in place of what is there, instead of compared.
    """

    def __init__(self, folder: Path, *, record: bool) -> None:
        self.folder, self.record = folder, record

    def check(
        self, name: str, images: Any, *, like: Any = "bfloat16", strict: bool = False
    ) -> Verdict:
        """The images are those that are stored under the name.

        Args:
            name: letters, digits, dots, dashes and underscores; unlike any other of this file.
            images: as `assert_same_images` takes them; they are compared as 8 bits hold them.
            like, strict: as there.

        Raises:
            AssertionError: they are not, or are broken.
            LatentcyError: none are stored, they are damaged, or of another number or size.
        """
        if not re.fullmatch(r"[\w.-]+", name):
            raise LatentcyError(
                found=f"golden images named {name!r}",
                expected="letters, digits, dots, dashes and underscores",
                do="rename them",
            )
        given = given_images(images)
        if self.record:
            return self._store(name, given)
        paths = self._paths(name)
        if not paths:
            raise LatentcyError(
                found=f"no {self.folder / name}-1.png",
                expected="the images as they were when they were known to be good",
                do="store them with pytest --benchmark-record, and look at them",
            )
        stored = [read_picture(path, expected=_STORED, do=_RESTORE) for path in paths]
        levels = given if not np.isfinite(given).all() else _levels(given).astype(np.float32) / 255
        return assert_same_images(levels, stored, like=like, strict=strict)

    def _store(self, name: str, images: np.ndarray) -> Verdict:
        assert_not_black(images)  # what is broken is no golden image
        before = self._paths(name)
        for number, image in enumerate(_levels(images), 1):
            content = io.BytesIO()
            Image.fromarray(image).save(content, "PNG")
            path = self.folder / f"{name}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content.getvalue(), "the golden images")
        for path in before[len(images) :]:  # once the new ones are there
            path.unlink()
        return Verdict("golden images", PASSED, f"{len(images)} stored in {self.folder}")

    def _paths(self, name: str) -> list[Path]:
        found = {
            int(match[1]): path
            for path in self.folder.glob(f"{name}-*.png")
            if (match := re.fullmatch(rf"{re.escape(name)}-(\d+)\.png", path.name))
        }
        return [found[number] for number in sorted(found)]


def _levels(images: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
