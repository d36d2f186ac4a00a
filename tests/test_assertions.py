"""Assertions for one's own tests: what each lets through, and what it fails for."""

from __future__ import annotations

import random
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from latentcy import (
    Quality,
    Tolerance,
    assert_deterministic,
    assert_no_slower,
    assert_not_black,
    assert_same_images,
)
from latentcy.assertions.given_images import given_images
from latentcy.assertions.golden_images import GoldenImages
from latentcy.assertions.outcome import InconclusiveWarning
from latentcy.core.errors import LatentcyError
from latentcy.miniature.drawing import draw
from latentcy.miniature.world import held_out_scenes

COUNT = 16


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def images():
    """Sixteen sound pictures, float32 [16, 64, 64, 3]."""
    chance = random.Random(5)
    drawn = [draw(scene, chance) for scene, _ in held_out_scenes(COUNT, seed=5)]
    return np.stack(drawn).astype(np.float32) / 255


def noisy(images, rms, seed=0):
    noise = np.random.default_rng(seed).normal(0, rms, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: (x * 255).round().astype(np.uint8),
        lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
        lambda x: torch.from_numpy(x).to(torch.bfloat16),
        lambda x: torch.from_numpy((x * 255).round().astype(np.uint8)),
        lambda x: [Image.fromarray((one * 255).round().astype(np.uint8)) for one in x],
        lambda x: list(x),
        lambda x: SimpleNamespace(images=x),
        lambda x: [torch.from_numpy(one).permute(2, 0, 1) for one in x],
    ],
    ids=["array", "uint8", "tensor", "bf16", "uint8 tensor", "PIL", "list", "output", "tensors"],
)
def test_images_are_taken_in_every_form(form, images):
    given = given_images(form(images))
    assert given.shape == images.shape and given.dtype == np.float32
    assert np.abs(given - images).max() < 0.005
    assert_same_images(form(images), images, like="bf16")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no images"),
        ("a.png", "str"),
        (np.zeros((2, 8, 8)), "of shape"),
        (np.full((1, 16, 16, 3), 128.0), "divide them by 255"),
        (np.linspace(-1, 1, 768).reshape(1, 16, 16, 3), "x / 2 + 0.5"),
        ([np.zeros((8, 8, 3)), np.zeros((9, 8, 3))], "8x8, 8x9"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_images_is_refused_with_what_to_do(given, words):
    with pytest.raises(LatentcyError) as refused:
        assert_not_black(given)
    assert words in str(refused.value)


def test_black_flat_and_not_finite_images_fail_by_their_number(images):
    assert_not_black(images)
    for broken in (0.0, 0.5, np.nan):
        bad = images.copy()
        bad[3] = broken
        with pytest.raises(AssertionError, match="as image 4"):
            assert_not_black(bad)


@pytest.mark.parametrize("like", ["float32", "tf32", "float16", "bfloat16", "bf16"])
def test_equal_images_pass_whatever_they_are_to_be_like(like, images):
    assert assert_same_images(images, images, like=like).status == "passed"


@pytest.mark.parametrize("like", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda x: np.roll(x, 1, axis=2), "median image"),
        (lambda x: x * 0.98, "brightness"),
        (lambda x: np.concatenate([x[:7], np.zeros_like(x[:1]), x[8:]]), "as image 8"),
        (lambda x: np.concatenate([x[:7], np.nan * x[:1], x[8:]]), "non-finite"),
        (lambda x: np.concatenate([x[:7], 1 - x[7:8], x[8:]]), "image 8"),
        (lambda x: x[..., ::-1], "median image"),
    ],
    ids=["shifted", "dimmed", "one black", "one not finite", "one inverted", "channels"],
)
def test_damaged_images_fail_with_what_differs(damage, words, like, images):
    with pytest.raises(AssertionError) as failed:
        assert_same_images(damage(images), images, like=like)
    assert words in str(failed.value)


def test_a_failure_keeps_pictures_under_the_test_s_name(images, tmp_path):
    with pytest.raises(AssertionError, match="pictures: ") as failed:
        assert_same_images(np.roll(images, 3, axis=1), images)
    path = str(failed.value).split("pictures: ")[1]
    assert "test_a_failure_keeps_pictures" in path
    assert Image.open(path).size[0] > 3 * 64


def test_healthy_images_say_how_alike_the_candidate_must_be(images):
    healthy = noisy(images, 0.01)
    assert_same_images(noisy(images, 0.012, seed=1), images, like=healthy)
    with pytest.raises(AssertionError, match="twice what 16 healthy images showed"):
        assert_same_images(noisy(images, 0.03, seed=1), images, like=healthy)


def test_a_quality_is_held_as_the_suite_holds_it(images):
    promised = Quality(ssim=Tolerance(0.98, "stated by the test"))
    assert_same_images(noisy(images, 0.001), images, like=promised)
    with pytest.raises(AssertionError, match="SSIM"):
        assert_same_images(noisy(images, 0.1), images, like=promised)
    with pytest.raises(LatentcyError, match="without ssim"):
        assert_same_images(images, images, like=Quality())


def test_one_image_and_a_quality_is_a_warning_and_strictly_a_failure(images):
    promised = Quality(ssim=Tolerance(0.98, "stated by the test"))
    with pytest.warns(InconclusiveWarning, match="no interval"):
        assert_same_images(images[:1], images[:1], like=promised)
    with pytest.raises(AssertionError, match="inconclusive"):
        assert_same_images(images[:1], images[:1], like=promised, strict=True)


def test_images_of_other_numbers_or_sizes_are_refused(images):
    for other in (images[:3], images[:, :32]):
        with pytest.raises(LatentcyError, match="as many of each"):
            assert_same_images(images, other)
    with pytest.raises(LatentcyError, match="did you mean 'bfloat16'"):
        assert_same_images(images, images, like="bfloat")


def test_a_slower_candidate_fails_with_by_how_much():
    with pytest.raises(AssertionError, match=r"no slower failed: \d+.* % slower"):
        assert_no_slower(lambda: time.sleep(0.004), lambda: time.sleep(0.002))


def test_a_faster_candidate_passes_in_few_pairs():
    verdict = assert_no_slower(lambda: time.sleep(0.002), lambda: time.sleep(0.004))
    assert verdict.status == "passed" and "10 pairs" in verdict.reason


def test_a_difference_that_is_not_known_is_a_warning_and_no_pass():
    with pytest.warns(InconclusiveWarning):
        verdict = assert_no_slower(
            lambda: time.sleep(0.002), lambda: time.sleep(0.002), tolerance=0, seconds=0.01
        )
    assert verdict.status == "inconclusive"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, len), "candidate=None"),
        ((len, 3), "reference=3"),
    ],
)
def test_what_cannot_be_timed_is_refused(arguments, words):
    with pytest.raises(LatentcyError, match=words):
        assert_no_slower(*arguments)


@pytest.mark.parametrize("tolerance", [-0.1, float("nan")])
def test_a_tolerance_that_allows_nothing_is_refused(tolerance):
    with pytest.raises(LatentcyError, match="tolerance"):
        assert_no_slower(lambda: None, lambda: None, tolerance=tolerance)


def drawing(seed):
    return np.random.default_rng(seed).random((1, 16, 16, 3))


def test_a_seed_that_decides_passes_and_one_that_does_not_fails():
    assert assert_deterministic(drawing).status == "passed"
    chance = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="the same seed drew other images"):
        assert_deterministic(lambda seed: chance.random((1, 16, 16, 3)))
    with pytest.raises(AssertionError, match="the seed is not used"):
        assert_deterministic(lambda seed: drawing(1))
    with pytest.raises(LatentcyError, match="cannot be called"):
        assert_deterministic(3)


def test_a_pixel_within_the_tolerance_is_let_through():
    chance = np.random.default_rng(0)

    def shaken(seed):
        return np.clip(drawing(seed) + 1e-4 * chance.random((1, 16, 16, 3)), 0, 1)

    assert_deterministic(shaken, tolerance=1e-3)
    with pytest.raises(AssertionError):
        assert_deterministic(shaken)


def test_golden_images_are_stored_and_then_compared(images, tmp_path):
    folder = tmp_path / "golden"
    with pytest.raises(LatentcyError, match="--benchmark-record"):
        GoldenImages(folder, record=False).check("scene", images)
    GoldenImages(folder, record=True).check("scene", images[:3])
    assert len(list(folder.glob("scene-*.png"))) == 3
    assert GoldenImages(folder, record=False).check("scene", images[:3], like="float32")
    with pytest.raises(AssertionError):
        GoldenImages(folder, record=False).check("scene", images[:3] * 0.9)
    with pytest.raises(LatentcyError, match="as many of each"):
        GoldenImages(folder, record=False).check("scene", images[:2])


def test_fewer_golden_images_take_the_place_of_more(images, tmp_path):
    folder = tmp_path / "golden"
    for count in (3, 2):
        GoldenImages(folder, record=True).check("scene", images[:count])
    assert sorted(one.name for one in folder.iterdir()) == ["scene-1.png", "scene-2.png"]
    assert GoldenImages(folder, record=False).check("scene", images[:2], like="float32")


def test_a_damaged_golden_image_and_a_broken_one_are_refused(images, tmp_path):
    folder = tmp_path / "golden"
    with pytest.raises(AssertionError, match="black"):
        GoldenImages(folder, record=True).check("scene", images[:1] * 0)
    assert not folder.exists()
    GoldenImages(folder, record=True).check("scene", images[:1])
    (folder / "scene-1.png").write_bytes(b"no picture")
    with pytest.raises(LatentcyError, match="cannot be read"):
        GoldenImages(folder, record=False).check("scene", images[:1])
    with pytest.raises(LatentcyError, match="rename"):
        GoldenImages(folder, record=False).check("../scene", images[:1])


def test_nothing_is_warned_of_where_all_is_known(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error", InconclusiveWarning)
        assert_same_images(images, images)
