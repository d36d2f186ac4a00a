"""The black-image detector: what must be caught is caught, a dark scene is not."""

import numpy as np
import pytest

from latentcy.measure.images.health import look


def scene(background: float = 0.0, size: int = 64) -> np.ndarray:
    """A small red square on a plain background."""
    image = np.full((size, size, 3), background, dtype=np.float32)
    image[20:28, 20:28] = (0.8, 0.1, 0.1)
    return image


def one(image: np.ndarray, **others: np.ndarray):
    return look(image[None], **others)[0]


def test_an_object_on_a_black_background_passes():
    assert one(scene(0.0)).ok


def test_an_object_on_a_plain_white_background_passes():
    assert one(scene(1.0)).ok


def test_a_dim_gradient_passes():
    ramp = np.linspace(0.0, 0.15, 64, dtype=np.float32)
    assert one(np.broadcast_to(ramp[:, None, None], (64, 64, 3))).ok


def test_a_black_image_is_black():
    health = one(np.zeros((64, 64, 3), dtype=np.float32))
    assert (health.ok, health.reason, health.index) == (False, "black", 0)


def test_a_nearly_black_noisy_image_is_black():
    noise = np.random.default_rng(0).uniform(0, 0.03, (64, 64, 3))
    noise[5, 5] = 1.0
    assert one(noise).reason == "black"


@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (1, 1, 1), (0.9, 0.1, 0.3)])
def test_an_image_of_one_colour_is_flat(colour):
    image = np.broadcast_to(np.asarray(colour, dtype=np.float32), (64, 64, 3))
    assert one(image).reason == "flat"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_non_finite_pixel_does_not_pass(value):
    image = scene(0.5)
    image[0, 0, 0] = value
    assert one(image).reason == "non-finite pixels"


def test_nan_in_the_decoder_output_is_named_though_the_pixels_are_sound():
    decoded = np.zeros((1, 3, 64, 64), dtype=np.float32)
    decoded[0, 1, 2, 3] = np.nan
    assert one(scene(0.5), decoded=decoded).reason == "non-finite decoder output"


def test_nan_in_the_latents_is_the_earliest_cause():
    latents = np.full((1, 4, 8, 8), np.nan, dtype=np.float32)
    decoded = np.full((1, 3, 64, 64), np.nan, dtype=np.float32)
    health = one(np.full((64, 64, 3), np.nan), latents=latents, decoded=decoded)
    assert health.reason == "non-finite latents"
    assert "256 of 256" in health.detail


def test_each_image_is_judged_by_its_own_values():
    images = np.stack([scene(0.5), np.zeros((64, 64, 3), np.float32), scene(0.2)])
    latents = np.zeros((3, 4, 8, 8), np.float32)
    latents[2] = np.inf
    healths = look(images, latents)
    assert [health.reason for health in healths] == ["", "black", "non-finite latents"]
    assert [health.index for health in healths] == [0, 1, 2]


def fog(image: np.ndarray) -> np.ndarray:
    return 0.5 + (image - 0.5) / 5


def as_decoded(image: np.ndarray) -> np.ndarray:
    return (image * 2 - 1).transpose(2, 0, 1)[None]


def test_a_grey_fog_is_low_contrast_though_it_is_not_flat():
    health = one(fog(scene(1.0)))
    assert (health.reason, health.kind) == ("low contrast", "flat")
    assert "0.22 is fog" in health.detail


def test_a_fog_with_a_few_sound_pixels_is_low_contrast():
    image = fog(scene(1.0))
    image[0, :3] = 1.0
    assert one(image).reason == "low contrast"


@pytest.mark.parametrize(
    ("flagged", "reason"),
    [
        ([True], "blacked after decoding, by the safety checker (flagged)"),
        ([False], "blacked after decoding, although no flag was raised"),
        (None, "blacked after decoding, although no flag was raised"),
    ],
)
def test_black_after_a_sound_decoder_is_not_numerical(flagged, reason):
    health = one(np.zeros((64, 64, 3)), decoded=as_decoded(scene(0.5)), flagged=flagged)
    assert (health.reason, health.kind) == (reason, "after decoding")


@pytest.mark.parametrize(("flagged", "said"), [([True], True), ([False], False), (None, False)])
def test_black_from_a_black_decoder_is_numerical_whatever_the_flag_says(flagged, said):
    health = one(np.zeros((64, 64, 3)), decoded=as_decoded(scene() * 0), flagged=flagged)
    assert health.reason == "black" + (": numerical, though flagged as NSFW" if said else "")
    assert health.kind == "flat"


def test_a_flagged_black_of_which_nothing_else_is_known_is_said_so():
    reason = one(np.zeros((64, 64, 3)), flagged=[True]).reason
    assert reason == "black, flagged as NSFW (what was decoded is not known)"


def test_flags_for_another_number_of_images_are_refused():
    with pytest.raises(ValueError, match="1 images but 2 of flags"):
        look(np.zeros((1, 8, 8, 3)), flagged=[True, False])


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 images but 1 of latents"):
        look(np.zeros((2, 8, 8, 3)), np.zeros((1, 4, 1, 1)))
