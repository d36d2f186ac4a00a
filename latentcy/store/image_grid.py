"""The picture of a run: one row a variant, one column a prompt."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 128  # pixels of one image's side in the picture
COLUMNS = 8
_LABEL, _GAP, _HEAD = 190, 4, 64
_PAPER, _INK, _BROKEN = (255, 255, 255), (30, 30, 30), (255, 0, 255)


def grid(rows: Mapping[str, np.ndarray], prompts: Sequence[str]) -> Image.Image:
    """Draws the first eight images of each row under their prompts.

    Args:
        rows: label to float images [n, h, w, 3] in 0..1; non-finite pixels are drawn magenta.
        prompts: n texts.
    """
    columns = min(COLUMNS, len(prompts))
    size = (_LABEL + columns * (TILE + _GAP), _HEAD + len(rows) * (TILE + _GAP))
    picture = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for column, prompt in enumerate(prompts[:columns]):
        text = "\n".join(textwrap.wrap(prompt, 19)[:4])
        pen.multiline_text((_LABEL + column * (TILE + _GAP), 2), text, _INK, font, spacing=1)
    for row, (label, images) in enumerate(rows.items()):
        top = _HEAD + row * (TILE + _GAP)
        name = "\n".join(label.split("-", 1))
        pen.multiline_text((6, top + TILE // 2 - 14), name, _INK, font)
        for column, image in enumerate(images[:columns]):
            picture.paste(_tile(image), (_LABEL + column * (TILE + _GAP), top))
    return picture


def picture_of(image: np.ndarray) -> Image.Image:
    """A float image [h, w, 3] in 0..1 as 8-bit RGB; non-finite pixels are magenta."""
    finite = np.isfinite(image).all(axis=-1)
    pixels = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    pixels[~finite] = _BROKEN
    return Image.fromarray(pixels)


def _tile(image: np.ndarray) -> Image.Image:
    resample = Image.Resampling.NEAREST if len(image) < TILE else Image.Resampling.LANCZOS
    return picture_of(image).resize((TILE, TILE), resample)
