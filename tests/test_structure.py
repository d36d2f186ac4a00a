"""SSIM by windows: what a mean over the image hides is seen, and said where it is."""

import math

import numpy as np
import pytest

from latentcy.measure.images.clip import ssim
from latentcy.measure.images.ssim import PSNR_CEILING, psnr, structure


@pytest.fixture
def images():
    """Eight smooth pictures of 64x64."""
    chance = np.random.default_rng(0)
    coarse = chance.uniform(0.1, 0.9, (8, 8, 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


def noisy(images, seed=1):
    return images + np.random.default_rng(seed).normal(0, 0.002, images.shape).astype(np.float32)


def test_the_whole_is_the_usual_ssim(images):
    assert structure(noisy(images), images).ssim == pytest.approx(ssim(noisy(images), images))


def test_equal_images_are_one_in_every_window(images):
    assert structure(images, images).values == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(11, 11), (64, 64), (40, 100), (13, 64)])
def test_the_tiles_cover_the_image_to_its_edges(size):
    image = np.zeros((1, *size, 3))
    covered = np.zeros(size, int)
    for window in structure(image, image).windows:
        if window.kind == "tile":
            covered[window.top :, window.left :][: window.height, : window.width] += 1
    assert covered.all()


@pytest.mark.parametrize("corner", [(0, 0), (52, 0), (0, 52), (52, 52)])
def test_a_corner_damaged_in_all_images_is_placed(images, corner):
    damaged = noisy(images)
    top, left = corner
    damaged[:, top : top + 12, left : left + 12] = 0.5
    window, values = structure(damaged, images).placed
    assert window.kind == "tile" and abs(window.top - top) <= 4 and abs(window.left - left) <= 4
    assert values.mean() < 0.7 < structure(damaged, images).ssim.mean()


@pytest.mark.parametrize("axis", [1, 2])
def test_a_seam_of_two_pixels_is_placed(images, axis):
    damaged = noisy(images)
    seam = [slice(None)] * 4
    seam[axis] = slice(30, 32)
    damaged[tuple(seam)] = 0.0
    window, values = structure(damaged, images).placed
    assert window.kind == ("row" if axis == 1 else "column")
    assert 25 <= (window.top if axis == 1 else window.left) <= 36
    assert values.mean() < 0.5


def test_an_edge_of_two_pixels_is_placed(images):
    damaged = noisy(images)
    damaged[:, :, -2:] = 0.0
    window, values = structure(damaged, images).placed
    assert window.kind == "column" and window.left >= 60 and values.mean() < 0.7


def test_one_damaged_image_among_many_is_the_worst_and_hardly_placed(images):
    damaged = noisy(images)
    damaged[5, 20:32, 20:32] = 0.5
    seen = structure(damaged, images)
    windows, values = seen.worst
    assert values.argmin() == 5 and values[5] < 0.7 and np.delete(values, 5).min() > 0.95
    assert windows[5].kind == "tile" and str(windows[5]) == "the 16x16 pixels at column 16, row 16"
    assert seen.placed[1].mean() > 0.9


def test_what_is_no_number_is_none_in_any_window(images):
    broken = images.copy()
    broken[2, 0, 0, 0] = math.nan
    for pair in ((broken, images), (images, broken)):
        seen = structure(*pair)
        assert np.isnan(seen.ssim[2]) and np.isnan(seen.values[2]).all()
        assert np.isnan(seen.placed[1].mean()) and np.isnan(seen.worst[1][2])
        assert np.isfinite(np.delete(seen.ssim, 2)).all()


def test_psnr_is_the_formulas(images):
    dimmed = images - np.float32(0.1)
    assert psnr(dimmed, images) == pytest.approx(np.full(8, 20.0), abs=1e-3)
    assert psnr(images, images) == pytest.approx(np.full(8, PSNR_CEILING))
    dimmed[1] = math.inf
    assert np.isnan(psnr(dimmed, images)[1])


def test_other_shapes_are_refused(images):
    with pytest.raises(ValueError, match="same shape|must both"):
        structure(images, images[:, :32])
    with pytest.raises(ValueError, match="must both"):
        psnr(images[0], images[0])
    with pytest.raises(ValueError, match="11x11"):
        structure(images[:, :8], images[:, :8])
