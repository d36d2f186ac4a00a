"""Distances in the scorer's feature space: of an image to its reference, and of sets of images.

The features are the image embeddings of the model's own CLIP scorer, since they are at hand
offline. LPIPS (torchmetrics has it) is not used: it needs torchvision and weights from the net.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

LEAST_IMAGES = 500  # of a set, for its feature statistics to mean something
KID_SUBSETS = 50
KID_SUBSET_SIZE = 250
KID_SEED = 0  # the subsets are drawn at random; with one seed the same sets give the same KID


@dataclass(frozen=True)
class Distribution:
    """How far two sets of images lie apart; NaN where an embedding is not finite.

    Attributes:
        fid: squared Fréchet distance of two Gaussians (Heusel et al. 2017), 0 or more. With n
            images it is too large by a share of about 1/n, so it is compared at like n only.
        kid: squared maximum mean discrepancy with the kernel (x y + 1)^3 (Bińkowski et al. 2018),
            the mean of subsets of 250; unbiased, so that equal sets may come out below 0.
        kid_spread: standard deviation over those subsets.
        images: of the smaller set.
    """

    fid: float
    kid: float
    kid_spread: float
    images: int


def image_distance(embeddings: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1 - cosine of each image's embedding to its reference's: CLIP-I (Ruiz et al. 2022) upside
    down. Float64 [n], 0 for equal images, at most 2.

    Raises:
        ValueError: the embeddings are not both [n, d].
    """
    one, other = np.asarray(embeddings, float), np.asarray(reference, float)
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(
            f"embeddings must both be [n, d], not {list(one.shape)} and {list(other.shape)}"
        )
    # For unit vectors; unlike 1 - x y it is exactly 0 for equal ones.
    return ((one - other) ** 2).sum(axis=1) / 2


def distribution(embeddings: np.ndarray, reference: np.ndarray) -> Distribution | None:
    """FID and KID by torchmetrics; None for sets of fewer than `LEAST_IMAGES` images.

    The two need not be paired. Raises ValueError where they are not [n, d] and [m, d].
    """
    one, other = np.asarray(embeddings, float), np.asarray(reference, float)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(
            f"embeddings must be [n, d] and [m, d], not {list(one.shape)} and {list(other.shape)}"
        )
    images = min(len(one), len(other))
    if images < LEAST_IMAGES:
        return None
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Distribution(np.nan, np.nan, np.nan, images)
    fid, kid = _metrics(one.shape[1])
    for metric in (fid, kid):
        metric.update(torch.from_numpy(other), real=True)
        metric.update(torch.from_numpy(one), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(KID_SEED)
        mean, spread = kid.compute()
    return Distribution(float(fid.compute()), float(mean), float(spread), images)


class _Embedded(nn.Module):
    """torchmetrics' feature extractor, for "images" that are embeddings already."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return embeddings


def _metrics(size: int) -> tuple[nn.Module, nn.Module]:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features in memory
        kid = KernelInceptionDistance(
            feature=_Embedded(size), subsets=KID_SUBSETS, subset_size=KID_SUBSET_SIZE, gamma=1.0
        )
    return FrechetInceptionDistance(feature=_Embedded(size)), kid
