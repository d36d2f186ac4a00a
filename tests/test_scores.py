"""CLIP score and SSIM: per image, on the documented scale, and NaN stays NaN."""

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentcy.core.errors import LatentcyError
from latentcy.measure.images.clip import ClipScorer, ssim
from tiny import POSITIONS, build_tiny


def weights(location):
    return SimpleNamespace(location=str(location), revision=None, subfolder=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny")) / "scorer"


@pytest.fixture(scope="module")
def scorer(folder):
    return ClipScorer(weights(folder), "cpu")


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 1, (2, 64, 64, 3)).astype(np.float32)


def cosine(folder, image, prompt):
    """CLIP score by hand: the formula on transformers' own model, without torchmetrics."""
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = torch.from_numpy(np.rint(image * 255) / 255).permute(2, 0, 1)[None].float()
    tokens = CLIPTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    with torch.no_grad():
        output = model(**tokens, pixel_values=(pixels - 0.5) / 0.5)
    return 100 * float((output.image_embeds * output.text_embeds).sum())


def test_scores_are_the_formulas_one_for_each_image(scorer, folder, images):
    prompts = ["a red square", "a golden vase"]
    expected = [max(0.0, cosine(folder, *pair)) for pair in zip(images, prompts, strict=True)]
    scores = scorer.scores(images, prompts)
    assert scores == pytest.approx(expected, abs=0.01)
    assert scores.shape == (2,) and max(expected) > 0


def test_a_score_does_not_depend_on_its_neighbours(scorer, images):
    both = scorer.scores(images, ["a", "b"])
    assert scorer.scores(images[1:], ["b"]) == pytest.approx(both[1:], abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_with_a_non_finite_pixel_has_no_score(scorer, images, value):
    images[1, 3, 3, 1] = value
    scores = scorer.scores(images, ["a", "b"])
    assert math.isfinite(scores[0]) and math.isnan(scores[1])


def test_a_prompt_beyond_the_scorers_positions_is_cut_and_keeps_its_end(scorer):
    processor = scorer._metric.processor
    tokens = processor(text=["a" * 4 * POSITIONS])["input_ids"][0]
    assert len(tokens) == POSITIONS
    assert tokens[-1] == processor.tokenizer.eos_token_id


def test_as_many_prompts_as_images_are_needed(scorer, images):
    with pytest.raises(ValueError, match="2 images but 1 prompts"):
        scorer.scores(images, ["a"])


def test_a_scorer_that_is_not_there_says_so(tmp_path):
    with pytest.raises(LatentcyError, match="CLIP scorer .* did not load"):
        ClipScorer(weights(tmp_path), "cpu")


def test_a_pickled_scorer_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "scorer")
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(LatentcyError, match="did not load"):
        ClipScorer(weights(copy), "cpu")


def test_a_truncated_scorer_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "scorer")
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LatentcyError, match="did not load"):
        ClipScorer(weights(copy), "cpu")


def test_a_scorer_with_weights_missing_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "scorer")
    tensors = load_file(copy / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LatentcyError, match="missing.*visual_projection"):
        ClipScorer(weights(copy), "cpu")


def test_ssim_of_equal_images_is_one(images):
    assert ssim(images, images) == pytest.approx([1.0, 1.0])


def test_ssim_of_flat_images_is_its_luminance_term():
    one, other = np.full((1, 64, 64, 3), 0.5), np.full((1, 64, 64, 3), 0.7)
    expected = (2 * 0.5 * 0.7 + 1e-4) / (0.5**2 + 0.7**2 + 1e-4)
    assert ssim(one, other) == pytest.approx([expected], abs=1e-6)


def test_ssim_is_of_each_image_and_falls_with_noise(images):
    noisy = images.copy()
    noisy[1] += np.random.default_rng(1).normal(0, 0.3, noisy[1].shape)
    values = ssim(noisy, images)
    assert values[0] == pytest.approx(1.0)
    assert values[1] < 0.9


@pytest.mark.parametrize("which", [0, 1])
def test_ssim_of_a_nan_is_nan_on_either_side(images, which):
    broken = [images.copy(), images.copy()]
    broken[which][0, 0, 0, 0] = math.nan
    values = ssim(*broken)
    assert math.isnan(values[0]) and values[1] == pytest.approx(1.0)


def test_ssim_of_different_shapes_is_refused(images):
    with pytest.raises(ValueError, match="same|shape"):
        ssim(images, images[:, :32])
    with pytest.raises(ValueError, match="11x11"):
        ssim(images[:, :8], images[:, :8])
