"""Tone, sharpness and grain: what SSIM forgives is seen."""

import math
import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from latentcy.measure.images.appearance import colour_shift, detail, grain, sharpness, tone


@pytest.fixture
def images():
    coarse = np.random.default_rng(0).uniform(0.1, 0.8, (4, 8, 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


def test_the_tone_of_a_flat_colour_is_that_colour():
    seen = tone(np.full((1, 16, 16, 3), (0.5, 0.25, 0.75)))
    expected = {"red": 0.5, "green": 0.25, "blue": 0.75, "saturation": 0.5, "contrast": 0.0}
    expected["brightness"] = 0.2126 * 0.5 + 0.7152 * 0.25 + 0.0722 * 0.75
    assert {name: values[0] for name, values in seen.items()} == pytest.approx(expected)


def test_a_dimmed_image_is_darker_and_flatter(images):
    before, after = tone(images), tone(0.9 * images)
    for name in before:
        assert after[name] == pytest.approx(0.9 * before[name], rel=1e-6)


def test_a_washed_out_image_keeps_its_mean_and_loses_contrast_and_saturation(images):
    flat = images.mean(axis=(1, 2), keepdims=True)
    before, after = tone(images), tone(flat + 0.8 * (images - flat))
    assert after["brightness"] == pytest.approx(before["brightness"], abs=1e-6)
    assert after["contrast"] == pytest.approx(0.8 * before["contrast"], rel=1e-6)


def test_swapped_channels_do_not_cancel_in_the_colour_shift():
    red, blue = np.zeros((2, 16, 16, 3)), np.zeros((2, 16, 16, 3))
    red[0, ..., 0] = red[1, ..., 2] = blue[0, ..., 2] = blue[1, ..., 0] = 1.0
    assert (tone(red)["red"] - tone(blue)["red"]).mean() == 0
    assert colour_shift(tone(red), tone(blue)) == pytest.approx([math.sqrt(2 / 3)] * 2)


def test_blur_lowers_and_noise_raises_sharpness(images):
    blurred = gaussian_filter(images, (0, 0.7, 0.7, 0))
    noised = images + np.random.default_rng(1).normal(0, 0.03, images.shape)
    assert (sharpness(detail(blurred), detail(images)) < -0.5).all()
    assert (sharpness(detail(noised), detail(images)) > 0.05).all()


def test_sharpness_of_flat_images_is_no_matter_of_rounding():
    flat, rounded = np.full((1, 64, 64, 3), 0.5), np.full((1, 64, 64, 3), 0.5)
    rounded += np.random.default_rng(0).uniform(-1 / 510, 1 / 510, rounded.shape)
    assert abs(sharpness(detail(rounded), detail(flat))[0]) < 1.0


def test_sharpness_does_not_depend_on_the_size(images):
    large = images.repeat(4, axis=0)
    crop = sharpness(detail(images[:, :32] * 0.9), detail(images[:, :32]))
    assert sharpness(detail(large * 0.9), detail(large))[::4] == pytest.approx(crop, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_grain_is_the_noises_standard_deviation(sigma):
    grey = np.random.default_rng(0).normal(0.5, sigma, (1, 128, 128, 1)).repeat(3, axis=-1)
    assert grain(grey) == pytest.approx([sigma], rel=0.05)


def test_edges_are_no_grain(images):
    assert grain(images) == pytest.approx(np.zeros(4), abs=1e-7)


@pytest.mark.parametrize("read", [detail, grain, lambda images: tone(images)["contrast"]])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_that_is_not_finite_has_no_value_and_warns_of_nothing(images, read, value):
    images[1, 2, 3, 0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = read(images)
    assert np.isnan(values[1]) and np.isfinite(np.delete(values, 1)).all()


def test_an_odd_size_is_read(images):
    assert np.isfinite(grain(images[:, :13, :11])).all()
