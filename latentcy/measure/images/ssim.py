"""Structural similarity, whole and by windows: a seam or a damaged corner is not averaged away."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

LEAST_SIDE = 11  # pixels: SSIM's kernel
PSNR_CEILING = 100.0  # dB: infinity would hide every mean; 16-bit images end at 98
TILES = 4  # a tile is this share of a side: 16 pixels of 64


@dataclass(frozen=True)
class Window:
    """A part of the image, in pixels."""

    kind: str  # "tile" | "row" | "column"
    top: int
    left: int
    height: int
    width: int

    def __str__(self) -> str:
        if self.kind == "row":
            return f"row {self.top}"
        if self.kind == "column":
            return f"column {self.left}"
        return f"the {self.width}x{self.height} pixels at column {self.left}, row {self.top}"


@dataclass(frozen=True)
class Structure:
    """SSIM of n images to their references; NaN where either holds a non-finite value.

    Attributes:
        ssim: float64 [n], the mean over the image.
        windows: m places: tiles of a quarter of each side at half-tile steps, every row of
            pixels over the whole width, and every column over the whole height.
        values: float64 [n, m], the mean SSIM in each.
    """

    ssim: np.ndarray
    windows: tuple[Window, ...]
    values: np.ndarray

    @property
    def placed(self) -> tuple[Window, np.ndarray]:
        """The window that is worst in the mean over the images, and every image's SSIM there."""
        means = self.values.mean(axis=0)
        worst = int(np.argmin(means))  # of NaN, numpy takes the first
        return self.windows[worst], self.values[:, worst]

    @property
    def worst(self) -> tuple[tuple[Window, ...], np.ndarray]:
        """Each image's own worst window, and its SSIM there."""
        places = self.values.argmin(axis=1)
        values = np.take_along_axis(self.values, places[:, None], axis=1)[:, 0]
        return tuple(self.windows[place] for place in places), values


def structure(images: np.ndarray, reference: np.ndarray) -> Structure:
    """SSIM (Wang et al. 2004) by torchmetrics, in fp64: Gaussian kernel of 11x11, data range 1.

    It means something only between images of identical starting noise.

    Args:
        images: [n, h, w, 3] float, 0..1, at least 11 pixels on each side.
        reference: the same shape.

    Raises:
        ValueError: the shapes differ, or are no images of at least 11x11 pixels.
    """
    images, reference = same_shape(images, reference)
    count, height, width = images.shape[:3]
    if min(height, width) < LEAST_SIDE:
        raise ValueError(f"SSIM needs 11x11 pixels, these are {height}x{width}")
    tiles = _tiles(height, width)
    windows = (
        *tiles,
        *(Window("row", row, 0, 1, width) for row in range(height)),
        *(Window("column", 0, column, height, 1) for column in range(width)),
    )
    whole = np.full(count, np.nan)
    values = np.full((count, len(windows)), np.nan)
    sound = finite(images) & finite(reference)
    for index in np.flatnonzero(sound):
        whole[index], found = _ssim_map(images[index], reference[index])
        squares = [
            found[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width].mean()
            for tile in tiles
        ]
        values[index] = np.concatenate([squares, found.mean(axis=1), found.mean(axis=0)])
    return Structure(whole, windows, values)


def psnr(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB by torchmetrics, data range 1, float64 [n].

    At most `PSNR_CEILING`, which stands for equal images; NaN where either holds a non-finite
    value. Raises ValueError where the shapes differ.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    images, reference = same_shape(images, reference)
    values = np.full(len(images), np.nan)
    for index in np.flatnonzero(finite(images) & finite(reference)):
        one, other = channels_first(images[index]), channels_first(reference[index])
        decibels = float(peak_signal_noise_ratio(one, other, data_range=1.0))
        values[index] = min(decibels, PSNR_CEILING)
    return values


def same_shape(images: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays. Raises ValueError where they are not both [n, h, w, 3] of one shape."""
    images, reference = np.asarray(images), np.asarray(reference)
    if images.shape != reference.shape or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            "images and reference must both have the shape [n, h, w, 3], not "
            f"{list(images.shape)} and {list(reference.shape)}"
        )
    return images, reference


def finite(images: np.ndarray) -> np.ndarray:
    """Which images hold no non-finite value: bool [n]."""
    return np.isfinite(images).all(axis=(1, 2, 3))


def channels_first(image: np.ndarray) -> torch.Tensor:
    """An image [h, w, 3] as float64 [1, 3, h, w]."""
    return torch.from_numpy(image.astype(np.float64).transpose(2, 0, 1)[None].copy())


def _ssim_map(image: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean SSIM, and its map [h, w], the mean of the channels."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        value, full = structural_similarity_index_measure(
            channels_first(image),
            channels_first(reference),
            reduction="none",
            data_range=1.0,
            return_full_image=True,
        )
    return float(value), full.reshape(full.shape[-3:]).mean(dim=0).numpy()


def _tiles(height: int, width: int) -> tuple[Window, ...]:
    tall, wide = round(height / TILES), round(width / TILES)
    return tuple(
        Window("tile", top, left, tall, wide)
        for top in _starts(height, tall)
        for left in _starts(width, wide)
    )


def _starts(side: int, tile: int) -> list[int]:
    """Half-tile steps, the last tile flush with the edge."""
    last = side - tile
    return sorted({*range(0, last + 1, max(1, tile // 2)), last})
