"""Distances in the scorer's feature space: of image pairs, and of sets of 500 and more."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentcy.measure.images.clip import ClipScorer
from latentcy.measure.images.distribution import LEAST_IMAGES, distribution, image_distance
from tiny import build_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny")) / "scorer"


@pytest.fixture(scope="module")
def scorer(folder):
    return ClipScorer(SimpleNamespace(location=str(folder), revision=None, subfolder=None), "cpu")


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 1, (20, 64, 64, 3)).astype(np.float32)


def units(count, seed=0, shift=0.0):
    rows = np.random.default_rng(seed).normal(shift, 1, (count, 8))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_embeddings_are_the_vision_towers_own(scorer, folder, images):
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = torch.from_numpy(np.rint(images * 255) / 255).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=(pixels - 0.5) / 0.5)
    expected = getattr(expected, "pooler_output", expected).double()
    expected = expected / expected.norm(dim=-1, keepdim=True)
    seen = scorer.embeddings(images)
    assert seen.dtype == np.float64 and seen == pytest.approx(expected.numpy(), abs=1e-5)
    assert np.linalg.norm(seen, axis=1) == pytest.approx(np.ones(20))


def test_an_image_that_is_not_finite_has_no_embedding(scorer, images):
    images[3, 0, 0, 0] = np.nan
    seen = scorer.embeddings(images)
    assert np.isnan(seen[3]).all() and np.isfinite(np.delete(seen, 3, axis=0)).all()
    assert scorer.embeddings(images[3:4]).shape == seen[3:4].shape


def test_image_distance_is_one_less_the_cosine():
    one, other = units(5), units(5, seed=1)
    assert image_distance(one, other) == pytest.approx(1 - (one * other).sum(axis=1))
    assert image_distance(one, one) == pytest.approx(np.zeros(5), abs=0)
    with pytest.raises(ValueError, match=r"must both be \[n, d\]"):
        image_distance(one, other[:4])


def test_an_image_distance_to_what_is_no_number_is_none():
    broken = units(3)
    broken[1] = np.nan
    assert np.isnan(image_distance(units(3), broken)[1])


def test_fewer_than_500_images_have_no_distribution():
    assert distribution(units(LEAST_IMAGES - 1), units(LEAST_IMAGES)) is None
    assert distribution(units(LEAST_IMAGES), units(LEAST_IMAGES)) is not None


def test_fid_is_the_formula():
    one, other = units(500, 0), units(600, 1, shift=0.5)
    mean = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum()
    left, right = np.cov(one.T), np.cov(other.T)
    roots = np.sqrt(np.linalg.eigvals(left @ right).astype(complex)).real.sum()
    expected = mean + np.trace(left) + np.trace(right) - 2 * roots
    assert distribution(one, other).fid == pytest.approx(expected, rel=1e-6)


def test_sets_that_differ_lie_apart_and_like_ones_do_not():
    like = distribution(units(500, 0), units(500, 1))
    apart = distribution(units(500, 0), units(500, 1, shift=0.5))
    assert abs(like.kid) < 0.01 < 0.3 < apart.kid
    assert like.fid < 0.05 < 0.2 < apart.fid
    assert (like.images, apart.images) == (500, 500)


def test_kid_is_the_same_each_time_and_leaves_the_global_generator_alone():
    one, other = units(500, 0), units(500, 1, shift=0.1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert distribution(one, other) == distribution(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_sets_with_an_image_that_is_not_finite_have_no_distances():
    broken = units(500)
    broken[17] = np.nan
    assert np.isnan(distribution(broken, units(500)).fid)
    assert np.isnan(distribution(units(500), broken).kid)
