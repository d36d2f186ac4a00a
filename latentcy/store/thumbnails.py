"""A case's images made small, in one picture beside them, so that a page need not open each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

TILE = 128  # pixels of a tile's longer side, at most
NAME = "tiles.png"

_COLUMNS = 8
_MOST = 1024  # images of a case, beyond which none are kept small
_KEY = "latentcy-tiles"


def image_files(folder: Path) -> list[Path]:
    """The images of a case's folder, NNN.png, in order."""
    return sorted(one for one in folder.glob("*.png") if one.stem.isdecimal())


def fit(picture: Image.Image, side: int) -> Image.Image:
    """The picture with a longer side of at most `side` pixels."""
    if max(picture.size) <= side:
        return picture
    smaller = picture.copy()
    smaller.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return smaller


def write_tiles(folder: Path, pictures: Sequence[Image.Image]) -> None:
    """Writes the pictures made small, where that saves anything.

    Raises OSError where the folder cannot be written.
    """
    if not 0 < len(pictures) <= _MOST or max(max(one.size) for one in pictures) <= TILE:
        return
    small = [fit(one, TILE) for one in pictures]
    width, height = small[0].size
    if any(one.size != (width, height) for one in small):
        return
    rows = -(-len(small) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width, rows * height))
    for index, one in enumerate(small):
        row, column = divmod(index, _COLUMNS)
        sheet.paste(one, (column * width, row * height))
    about = PngInfo()
    about.add_text(_KEY, json.dumps([len(small), width, height]))
    sheet.save(folder / NAME, pnginfo=about, compress_level=1)


def read_tiles(folder: Path, count: int) -> list[Image.Image]:
    """What `write_tiles` kept of `count` images; empty where it does not hold just these.

    It is older than an image that was changed afterwards, and then is not used.
    """
    path = folder / NAME
    try:
        written = path.stat().st_mtime_ns
        if any(one.stat().st_mtime_ns > written for one in image_files(folder)):
            return []
        with Image.open(path) as picture:
            kept, width, height = json.loads(picture.info[_KEY])
            rows = -(-kept // _COLUMNS)
            if kept != count or picture.size != (_COLUMNS * width, rows * height):
                return []
            sheet = picture.convert("RGB")
    except (OSError, ValueError, TypeError, KeyError, SyntaxError, Image.DecompressionBombError):
        return []
    corners = [(column * width, row * height) for row in range(rows) for column in range(_COLUMNS)]
    return [sheet.crop((x, y, x + width, y + height)) for x, y in corners[:count]]
