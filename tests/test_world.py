"""The miniature's world: captions say what is drawn, and the reader finds it again."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from latentcy.miniature.drawing import draw
from latentcy.miniature.reader import check
from latentcy.miniature.world import (
    PUBLISHED_PROMPTS,
    Scene,
    Thing,
    change_one,
    held_out,
    held_out_scenes,
    training_scenes,
)

CIRCLE = Thing("circle", "red", side="left", stated=frozenset({"kind", "colour", "side"}))
SCENE = Scene((CIRCLE,), background="white")


def test_a_caption_states_what_was_decided():
    assert SCENE.caption == "a red circle on the left on a white background"


def test_the_published_prompts_are_captions_of_this_world():
    captions = {caption for _, caption in training_scenes(20_000, 3)}
    assert set(PUBLISHED_PROMPTS) <= captions


def test_training_never_gives_a_held_out_caption():
    assert not any(held_out(caption) for _, caption in training_scenes(3_000, 1))
    assert all(held_out(caption) for _, caption in held_out_scenes(50, 1))


def test_the_same_seed_gives_the_same_scenes():
    assert list(training_scenes(50, 7)) == list(training_scenes(50, 7))


def test_a_picture_is_drawn_in_bytes():
    image = draw(SCENE, random.Random(0))
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8


def test_the_reader_finds_what_was_drawn():
    rng, right, asked = random.Random(3), Counter(), Counter()
    for scene, _ in held_out_scenes(200, 11):
        for name, holds in check(draw(scene, rng), scene).items():
            asked[name] += 1
            right[name] += holds
    assert sum(right.values()) / sum(asked.values()) > 0.98


@pytest.mark.parametrize("attribute", ["colour", "shape", "place", "side"])
def test_the_reader_sees_a_single_changed_attribute(attribute):
    rng, noticed, tried = random.Random(4), 0, 0
    for scene, _ in held_out_scenes(120, 12):
        other = change_one(scene, attribute, rng)
        if other is None:
            continue
        tried += 1
        noticed += not all(check(draw(other, rng), scene).values())
    assert tried >= 10
    assert noticed / tried > 0.95


def test_an_empty_picture_shows_nothing():
    black = np.zeros((64, 64, 3), np.uint8)
    assert not any(check(black, SCENE).values())
