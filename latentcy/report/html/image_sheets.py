"""A run's images in the page: one sheet of small tiles a case, within a budget of bytes."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, features

from latentcy.core.record import Record
from latentcy.store import thumbnails as kept
from latentcy.store.thumbnails import TILE, fit

COLUMNS = 8  # of a sheet
MOST_PIXELS = 2**25  # of one image; a larger one is not opened
# Side of a tile and quality of the sheet, tried in turn until the sheets fit.
RUNGS = ((128, 80), (128, 60), (96, 55), (80, 45), (64, 40), (48, 30), (32, 20))

KIND = "WEBP" if features.check("webp") else "JPEG"


@dataclass(frozen=True)
class Tiles:
    """A case's images, made small: None where one is missing or cannot be read."""

    paths: tuple[Path | None, ...]
    small: tuple[Image.Image | None, ...]
    whys: tuple[str, ...]  # "" for a sound image

    def __len__(self) -> int:
        return len(self.small)


@dataclass(frozen=True)
class Sheet:
    """All tiles of a case in one picture; `uri` is "" where it had no room."""

    uri: str
    columns: int
    rows: int
    width: int  # pixels of a tile
    height: int
    whys: tuple[str, ...]

    def position(self, index: int) -> str:
        """A tile's place in the sheet, as CSS's background-position takes it."""
        row, column = divmod(index, self.columns)
        x = 100 * column / max(self.columns - 1, 1)
        y = 100 * row / max(self.rows - 1, 1)
        return f"{x:.4g}% {y:.4g}%"


class Encoder:
    """Encodes pictures as data URIs, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def uri(self, picture: Image.Image, quality: int) -> str:
        """A data URI of the picture."""
        self.count += 1
        content = io.BytesIO()
        options = {"method": 2} if KIND == "WEBP" else {}
        picture.convert("RGB").save(content, KIND, quality=quality, **options)
        coded = base64.b64encode(content.getvalue()).decode("ascii")
        return f"data:image/{KIND.lower()};base64,{coded}"


def label(record: Record) -> str:
    """The name of the folder of a case's images."""
    return f"{record.group}-{record.variant}"


def read_tiles(folder: Path, names: Iterable[str]) -> dict[str, Tiles]:
    """The images of each named case, made small; a case without a folder or images has none.

    Args:
        folder: holds one folder a case, and in it 000.png, 001.png, ...
        names: of those folders. A name that leads elsewhere is passed over.
    """
    found = {name: paths for name in names if (paths := image_paths(folder, name))}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        small = {name: kept.read_tiles(folder / name, len(one)) for name, one in found.items()}
        every = [path for name, paths in found.items() if not small[name] for path in paths]
        opened = iter(list(pool.map(_tile, every)))
    tiles = {}
    for name, paths in found.items():
        pairs = [next(opened) for _ in paths] if not small[name] else _kept(paths, small[name])
        tiles[name] = Tiles(tuple(paths), tuple(p for p, _ in pairs), tuple(w for _, w in pairs))
    return tiles


def image_paths(folder: Path, name: str) -> list[Path | None]:
    """The i-th is image i, None where it is missing; empty where there is none at all."""
    place = folder / name
    if not name or "\0" in name or place.parent != folder or name in (".", ".."):
        return []
    try:
        numbered = {int(one.stem): one for one in place.glob("*.png") if one.stem.isdecimal()}
    except OSError:
        return []
    last = max((one for one in numbered if one < 10_000), default=-1)
    return [numbered.get(index) for index in range(last + 1)]


def make_sheets(
    tiles: dict[str, Tiles], budget: int, encoder: Encoder, rungs: Sequence[tuple[int, int]] = RUNGS
) -> dict[str, Sheet]:
    """A sheet for each case, in at most `budget` bytes together.

    Once a sheet had to be made smaller, those after it begin there: at most
    `len(tiles) + len(rungs)` pictures are encoded.
    """
    sheets: dict[str, Sheet] = {}
    rung = 0
    for number, (name, one) in enumerate(tiles.items()):
        share = budget // (len(tiles) - number)
        sheet = _sheet(one, *rungs[rung], encoder)
        while len(sheet.uri) > share and rung + 1 < len(rungs):
            rung += 1
            sheet = _sheet(one, *rungs[rung], encoder)
        if len(sheet.uri) > share:
            sheet = Sheet("", sheet.columns, sheet.rows, sheet.width, sheet.height, sheet.whys)
        sheets[name] = sheet
        budget -= len(sheet.uri)
    return sheets


def open_image(path: Path) -> Image.Image:
    """The image, RGB. Raises OSError or ValueError, with words, for one that cannot be shown."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"it has {picture.width} × {picture.height} pixels")
            return picture.convert("RGB")
    except (SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def _kept(
    paths: Sequence[Path | None], small: Sequence[Image.Image]
) -> list[tuple[Image.Image | None, str]]:
    """Of images that were kept small, those whose file is still there."""
    return [
        _tile(None) if path is None else (one, "") for path, one in zip(paths, small, strict=True)
    ]


def _tile(path: Path | None) -> tuple[Image.Image | None, str]:
    if path is None:
        return None, "missing"
    try:
        return fit(open_image(path), TILE), ""
    except (OSError, ValueError, MemoryError) as error:
        return None, f"damaged: {error}"


def _sheet(tiles: Tiles, side: int, quality: int, encoder: Encoder) -> Sheet:
    small = [None if one is None else fit(one, side) for one in tiles.small]
    width = max((one.width for one in small if one is not None), default=1)
    height = max((one.height for one in small if one is not None), default=1)
    columns = min(COLUMNS, len(small))
    rows = -(-len(small) // columns)
    picture = Image.new("RGB", (columns * width, rows * height), (128, 128, 128))
    for index, one in enumerate(small):
        if one is not None:
            row, column = divmod(index, columns)
            picture.paste(one, (column * width, row * height))
    uri = encoder.uri(picture, quality) if any(small) else ""
    return Sheet(uri, columns, rows, width, height, tiles.whys)
