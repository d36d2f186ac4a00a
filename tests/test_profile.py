"""The quality profile: each gate fails for the right reason and leaves healthy images alone."""

import json
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from latentcy.gates.image_quality import (
    GATES,
    distribution_verdict,
    image_distance_verdict,
    local_ssim_verdict,
    sharpness_verdict,
    tone_verdict,
)
from latentcy.gates.tolerances import CLOSE, COARSE, LOOSE, NEAR, OTHER, bounds
from latentcy.measure.images.profile import compare, profile, read

COUNT = 16
LIMITS = bounds(NEAR)


class Scorer:
    """Stands for the CLIP scorer: mean colours of 4x4 fields as the embedding."""

    def scores(self, images, prompts):
        return np.full(len(images), 80.0)

    def embeddings(self, images):
        fields = images.reshape(len(images), 4, 16, 4, 16, 3).mean(axis=(2, 4)).reshape(-1, 48)
        return fields / np.linalg.norm(fields, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def images():
    """Smooth coloured pictures, half of them with a shape."""
    chance = np.random.default_rng(0)
    coarse = chance.uniform(0.2, 0.8, (COUNT, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return gaussian_filter(coarse, (0, 1, 1, 0)).astype(np.float32)


@pytest.fixture(scope="module")
def healthy(images):
    """The same, as rounding would move them."""
    moved = np.random.default_rng(1).normal(0, 0.0005, images.shape)
    return (images + moved).astype(np.float32)


def judged(images, reference, limits=LIMITS):
    seen = profile(images, reference, Scorer(), ["a"] * len(images))
    return {gate: gate(seen, limits) for gate in GATES}


def statuses(images, reference, limits=LIMITS):
    verdicts = judged(images, reference, limits).values()
    return {verdict.gate: verdict.status for verdict in verdicts if verdict is not None}


@pytest.mark.parametrize("count", [2, 4, 16])
def test_healthy_images_pass_every_gate(images, healthy, count):
    assert statuses(healthy[:count], images[:count]) == {
        "local SSIM": "passed",
        "tone": "passed",
        "sharpness": "passed",
        "image distance": "passed",
    }


@pytest.mark.parametrize("kind", [NEAR, CLOSE, LOOSE, COARSE, OTHER])
def test_equal_images_pass_every_gate_of_every_kind(images, kind):
    assert set(statuses(images, images, bounds(kind)).values()) == {"passed"}


def test_a_corner_damaged_in_all_images_fails_local_ssim_and_is_placed(images, healthy):
    damaged = healthy.copy()
    damaged[:, :12, 52:] = 0.5
    verdict = judged(damaged, images)[local_ssim_verdict]
    assert verdict.status == "failed"
    assert "16x16 pixels at column 48, row 0" in verdict.reason
    assert "on average over 16 images" in verdict.reason


def test_one_damaged_image_of_many_fails_local_ssim_and_is_named(images, healthy):
    damaged = healthy.copy()
    damaged[6, 20:32, 20:32] = 0.5
    verdict = judged(damaged, images)[local_ssim_verdict]
    assert verdict.status == "failed" and "in the image of prompt 7" in verdict.reason


def test_a_seam_fails_local_ssim(images, healthy):
    damaged = healthy.copy()
    damaged[:, 31:33] = 0.0
    verdict = judged(damaged, images)[local_ssim_verdict]
    assert verdict.status == "failed" and "in row 3" in verdict.reason


def test_dimmed_images_fail_tone_alone(images, healthy):
    found = statuses((0.93 * healthy).astype(np.float32), images)
    assert found.pop("tone") == "failed"
    assert found["local SSIM"] == "passed"
    verdict = judged(0.93 * healthy, images)[tone_verdict]
    assert "brightness -0.03" in verdict.reason and "most in prompts" in verdict.reason


def test_one_dimmed_image_of_many_fails_tone_and_is_named(images, healthy):
    damaged = healthy.copy()
    damaged[4] *= 0.85
    verdict = judged(damaged, images)[tone_verdict]
    assert verdict.status == "failed" and "in the image of prompt 5" in verdict.reason


@pytest.mark.parametrize("channels", [(2, 1, 0), (0, 2, 1), (1, 2, 0)])
def test_swapped_channels_fail_tone(images, healthy, channels):
    assert statuses(healthy[..., list(channels)], images)["tone"] == "failed"


def test_washed_out_images_fail_tone(images, healthy):
    middle = healthy.mean(axis=(1, 2), keepdims=True)
    verdict = judged(middle + 0.8 * (healthy - middle), images)[tone_verdict]
    assert verdict.status == "failed" and "contrast -" in verdict.reason


def test_blurred_images_fail_sharpness(images, healthy):
    verdict = judged(gaussian_filter(healthy, (0, 1, 1, 0)), images)[sharpness_verdict]
    assert verdict.status == "failed" and "sharpness -" in verdict.reason


def test_noisy_images_fail_sharpness(images, healthy):
    noise = np.random.default_rng(2).normal(0, 0.03, images.shape).astype(np.float32)
    verdict = judged(healthy + noise, images)[sharpness_verdict]
    assert verdict.status == "failed"
    assert "sharpness +" in verdict.reason and "and 2 more limits" in verdict.reason


def test_other_images_fail_image_distance(images, healthy):
    verdict = judged(np.roll(healthy, 1, axis=0), images)[image_distance_verdict]
    assert verdict.status == "failed" and "image distance 0.0" in verdict.reason


def test_without_a_scorer_the_learned_metrics_are_not_judged(images, healthy):
    seen = profile(healthy, images)
    assert image_distance_verdict(seen, LIMITS) is None
    assert distribution_verdict(seen, LIMITS) is None
    assert seen.to_dict()["distribution"] == {"not judged": "there is no scorer"}


def test_other_weights_are_judged_by_means_alone(images):
    seen = statuses(images, images, bounds(OTHER))
    assert set(seen) == {"tone", "sharpness"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_an_image_that_is_not_finite_passes_no_gate(images, healthy, value, side):
    pair = [healthy.copy(), images.copy()]
    pair[side][3, 0, 0, 0] = value
    with np.errstate(all="ignore"):
        found = judged(*pair)
    for gate, verdict in found.items():
        if verdict is not None:
            assert verdict.status == "failed", gate
            assert "not a number for 1 of 16 images" in verdict.reason


def test_one_prompt_has_no_interval_and_fails_only_beyond_the_limits(images, healthy):
    found = statuses(healthy[:1], images[:1])
    assert found.pop("local SSIM") == "passed"  # an extreme, which needs none
    assert set(found.values()) == {"inconclusive"}
    assert "one prompt, so no interval" in judged(healthy[:1], images[:1])[tone_verdict].reason
    assert statuses(0.8 * healthy[:1], images[:1])["tone"] == "failed"


def test_fewer_than_500_images_are_no_distribution_and_say_so(images, healthy):
    seen = profile(healthy, images, Scorer(), ["a"] * COUNT)
    assert distribution_verdict(seen, LIMITS) is None
    assert seen.to_dict()["distribution"] == {
        "not judged": "16 images are fewer than the 500 that FID and KID need"
    }


def test_a_set_of_other_images_fails_the_distribution():
    chance = np.random.default_rng(0)
    many = chance.uniform(0, 1, (500, 4, 4, 3)).repeat(16, axis=1).repeat(16, axis=2)
    one, scorer = read(many.astype(np.float32), Scorer(), ["a"] * 500), Scorer()
    assert distribution_verdict(compare_embeddings(one, one), LIMITS).status == "passed"
    tinted = read(many.astype(np.float32) * np.float32([1, 0.7, 0.7]), scorer, ["a"] * 500)
    verdict = distribution_verdict(compare_embeddings(tinted, one), LIMITS)
    assert verdict.status == "failed" and verdict.reason.startswith("FID 0.")
    broken = read(np.where(np.arange(500)[:, None, None, None] == 3, np.nan, many), scorer, ["a"])
    assert distribution_verdict(compare_embeddings(broken, one), LIMITS).status == "failed"


def compare_embeddings(one, other):
    """The profile of two sets without their images' SSIM, which takes long for 500."""
    from latentcy.measure.images.distribution import distribution
    from latentcy.measure.images.profile import Profile

    sets = distribution(one.embeddings, other.embeddings)
    return Profile(one.values, other.values, distribution=sets)


def test_a_summary_goes_into_json_and_names_the_worst(images, healthy):
    damaged = healthy.copy()
    damaged[6] = 0.5 * damaged[6]
    seen = profile(damaged, images, Scorer(), ["a"] * COUNT)
    summary = json.loads(json.dumps(seen.to_dict()))
    brightness = summary["against"]["brightness"]
    assert brightness["worst"] == pytest.approx(seen.against["brightness"][6]) and (
        brightness["n"] == COUNT
    )
    assert brightness["low"] < brightness["mean"] < brightness["high"]
    assert summary["alone"]["CLIP"]["mean"] == 80.0
    assert summary["against"]["SSIM"]["worst"] == pytest.approx(seen.against["SSIM"].min())


def test_without_a_reference_the_images_are_read_alone(images):
    seen = profile(images)
    assert set(seen.values) >= {"brightness", "contrast", "grain"} and not seen.against
    assert seen.images == COUNT and json.dumps(seen.to_dict())


def test_a_reading_of_a_part_is_the_part_of_the_reading(images, healthy):
    one, other = read(healthy, Scorer(), ["a"] * COUNT), read(images, Scorer(), ["a"] * COUNT)
    part = compare(one.part(slice(4, 8)), other.part(slice(4, 8)))
    whole = compare(one, other)
    for name in ("SSIM", "brightness", "sharpness", "image distance"):
        assert part.against[name] == pytest.approx(whole.against[name][4:8])


def test_images_of_different_shapes_are_refused(images):
    with pytest.raises(ValueError, match="must both"):
        profile(images, images[:, :32])
    with pytest.raises(ValueError, match="must both"):
        profile(images[:4], images)
