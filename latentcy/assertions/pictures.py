"""What a failed comparison of images leaves to look at: both, and where they differ."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from latentcy.core.errors import LatentcyError
from latentcy.measure.images.differences import ImageDifferences

__tracebackhide__ = True  # pytest shows the line of the test

FOLDER = Path("latentcy-results") / "failed"  # in the folder that the tests are run from
SHOWN = 4  # images, the worst first
SIDE = 192  # least pixels of a side as shown
AMPLIFIED = 8  # times, differences as shown

_EDGE, _LINE = 8, 16  # pixels


def keep_pictures(
    candidate: np.ndarray, reference: np.ndarray, differences: ImageDifferences
) -> Path | None:
    """Writes the worst images side by side, and says where; None where it cannot be written.

    The file has the name of the test that pytest is running, else "images".
    """
    path = FOLDER / f"{_name()}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sheet(candidate, reference, differences).save(path)
    except OSError:  # the assertion's own message counts
        return None
    return path.absolute()


def read_picture(path: Path, *, expected: str, do: str) -> Image.Image:
    """A picture of three channels. Raises LatentcyError, with `do`, where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise LatentcyError(
            found=f"{path}, which cannot be read ({error})", expected=expected, do=do
        ) from None


def _name() -> str:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)").split("/")[-1]
    return re.sub(r"[^\w.-]+", "-", test).strip("-") or "images"


def _sheet(
    candidate: np.ndarray, reference: np.ndarray, differences: ImageDifferences
) -> Image.Image:
    order = np.argsort(np.nan_to_num(differences.ssim, nan=-1), kind="stable")[:SHOWN]
    height, width = candidate.shape[1:3]
    factor = max(1, -(-SIDE // max(1, min(height, width))))
    wide, high = width * factor, height * factor
    headings = ("reference", "candidate", f"difference, times {AMPLIFIED}")
    sheet = Image.new(
        "RGB",
        (3 * wide + 4 * _EDGE, _EDGE + len(order) * (high + _LINE + _EDGE)),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for row, place in enumerate(order):
        top = _EDGE + row * (high + _LINE + _EDGE)
        apart = np.abs(candidate[place] - reference[place]) * AMPLIFIED
        for column, pixels in enumerate((reference[place], candidate[place], apart)):
            left = _EDGE + column * (wide + _EDGE)
            words = f"image {place + 1}: {headings[column]}"
            if column == 1:
                words += f", SSIM {differences.ssim[place]:.4f}"
            draw.text((left, top), words, fill="black")
            levels = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
            shown = Image.fromarray(levels).resize((wide, high), Image.Resampling.NEAREST)
            sheet.paste(shown, (left, top + _LINE))
    return sheet
