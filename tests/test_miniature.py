"""The embedded miniature keeps what its model card says, on captions it never saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from latentcy.core.data import MINIATURE_FOLDER
from latentcy.measure.images.clip import ClipScorer
from latentcy.miniature.card import (
    MODELS,
    against_changed,
    against_shuffled,
    attributes,
    generate,
    held_out_pairs,
)
from latentcy.miniature.world import held_out
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def pairs():
    return held_out_pairs(0.4)


@pytest.fixture(scope="module")
def images(pairs):
    return generate(MODELS[0], pairs)


@pytest.fixture(scope="module")
def scorer():
    return ClipScorer(resolve_model("miniature", find_device("cpu"))[0].scorer)


def test_the_weights_are_small_and_only_safetensors():
    files = [file for file in MINIATURE_FOLDER.rglob("*") if file.is_file()]
    weights = [file for file in files if file.suffix == ".safetensors"]
    assert sum(file.stat().st_size for file in weights) <= 25e6
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt", ".md", ".png"}


def test_no_config_names_the_machine_that_trained_it():
    assert not any("_name_or_path" in file.read_text() for file in MINIATURE_FOLDER.rglob("*.json"))


def test_the_prompts_were_never_seen(pairs):
    assert all(held_out(pair.prompt) for pair in pairs)


def test_its_pictures_have_the_prompted_attributes(images, pairs):
    right, asked = (sum(each) for each in zip(*attributes(images, pairs).values(), strict=True))
    assert right / asked >= 0.9


def test_the_reader_would_notice_pictures_of_other_prompts(images, pairs):
    moved = np.roll(images, 7, axis=0)
    right, asked = (sum(each) for each in zip(*attributes(moved, pairs).values(), strict=True))
    assert right / asked < 0.6


def test_the_scorer_prefers_the_right_prompt(scorer, images, pairs):
    assert against_shuffled(scorer, images, [pair.prompt for pair in pairs])["wins"] >= 0.95


@pytest.mark.parametrize("attribute", ["colour", "shape", "place", "side"])
def test_the_scorer_sees_a_single_changed_attribute(scorer, changed, attribute):
    assert changed[attribute] >= 0.9


@pytest.fixture(scope="module")
def changed(scorer):
    return against_changed(scorer, 100)


def test_a_black_picture_scores_next_to_nothing(scorer, pairs):
    prompts = [pair.prompt for pair in pairs[:20]]
    assert scorer.scores(np.zeros((20, 64, 64, 3)), prompts).mean() < 30


def test_the_scorer_shares_no_weights_with_the_pipeline():
    own = load_file(MINIATURE_FOLDER / "scorer" / "model.safetensors")
    pipeline = load_file(MINIATURE_FOLDER / "pipeline" / "text_encoder" / "model.safetensors")
    suffix = "embeddings.token_embedding.weight"
    (mine,) = (value for name, value in own.items() if name.endswith(suffix))
    (theirs,) = (value for name, value in pipeline.items() if name.endswith(suffix))
    assert not torch.equal(mine, theirs)
