"""Stored images: kept whole, read with suspicion, and held against what is drawn now."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emulated
from latentcy.core.data import BASELINES_FOLDER
from latentcy.core.errors import LatentcyError
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED
from latentcy.gates.golden_images import album_of, compare
from latentcy.pipelines.case import Case
from latentcy.pipelines.devices.device import environment, find_device
from latentcy.pipelines.models.catalog import MINIATURE
from latentcy.pipelines.models.fingerprint import weights_identity
from latentcy.pipelines.prompts import chosen_prompts
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import BUILTIN, GROUP_WORKLOADS, Variant
from latentcy.pipelines.workload import workload
from latentcy.store.golden_image_file import (
    SIDE,
    GoldenImageSet,
    find_golden_images,
    golden_images_path,
    read_golden_images,
    write_golden_images,
)

CPU = find_device("cpu")
ALBUMS = (
    ("precision", "baseline"),
    ("distillation", "baseline"),
    ("distillation", "distilled"),
    ("distillation", "distilled-tiny-vae"),
)
DISTILLED = next(one for one in BUILTIN if one.id == "distillation/distilled")
TINY_VAE = next(one for one in BUILTIN if one.id == "distillation/distilled-tiny-vae")


@pytest.mark.parametrize(("group", "variant"), ALBUMS)
def test_the_miniatures_albums_hold_its_64_prompts_and_no_place_on_a_machine(
    group: str, variant: str
) -> None:
    path = golden_images_path(BASELINES_FOLDER, "miniature", group, variant)
    album = read_golden_images(path)
    chosen = chosen_prompts(MINIATURE, None, 64)
    assert album is not None and path.stat().st_size < 600_000
    assert (album.prompts, album.seeds) == (chosen.prompts, chosen.seeds)
    assert album.case == f"miniature/{group}/{variant}" and album.dtype == "float32"
    assert album.thumbnails.shape == (64, SIDE, SIDE, 3)
    assert (album.clip > 40).all() and album.clip.mean() > 80
    texts = {name: value for name, value in vars(album).items() if name not in _ARRAYS}
    assert "/" not in repr(texts).replace(album.case, "")


def test_the_miniature_draws_what_is_stored_whatever_the_size_of_its_batches() -> None:
    for batch in (1, 3):
        verdict = compare(_stored(DISTILLED), _drawn(DISTILLED, images=3, batch=batch))
        assert verdict.status == PASSED, verdict.reason
        assert verdict.gate == "stored images" and "3 images like those stored" in verdict.reason


@pytest.mark.parametrize(
    "dtype",
    [pytest.param(name, marks=emulated.native(name)) for name in ("float16", "bfloat16")],
)
def test_half_precision_draws_what_is_stored_with_a_margin_of_two(dtype: str) -> None:
    made = _drawn(replace(TINY_VAE, cpu_dtype=dtype), images=2)
    stored = _stored(TINY_VAE)
    verdict = compare(stored, made)
    assert made.dtype == dtype and stored.dtype == "float32"
    assert verdict.status == PASSED, verdict.reason
    mean = float(verdict.reason.split("SSIM ")[1].split()[0])
    assert mean >= 0.99  # half of the 0.02 that is allowed


def test_a_scaling_factor_that_is_a_fifth_too_large_fails() -> None:
    made = _drawn(replace(DISTILLED, prepare=_scaled), images=4)
    verdict = compare(_stored(DISTILLED), made)
    assert verdict.status == FAILED
    assert "of 4 images unlike those stored, the worst first: " in verdict.reason
    assert "stored in float32 on cpu, torch 2." in verdict.reason
    assert "images.png" in verdict.reason and "--benchmark-record" in verdict.reason


def test_other_noise_fails_as_other_images() -> None:
    stored = _stored(DISTILLED)
    made = _drawn(DISTILLED, images=2, first_seed=7)
    verdict = compare(stored, replace(made, seeds=stored.seeds[:2]))
    assert verdict.status == FAILED


def test_images_dimmed_alike_fail_by_their_colour_though_ssim_holds() -> None:
    images = _pictures(4)
    verdict = compare(_album(images), _album(images * 0.94))
    assert verdict.status == FAILED
    ssim = float(verdict.reason.split("SSIM ")[1].split()[0])
    assert ssim > 0.98 and "mean colour off by 0.03" in verdict.reason


def test_a_tint_fails_though_the_brightness_holds() -> None:
    images = _pictures(4)
    tinted = images + np.array([0.03, 0.0, -0.03], dtype=np.float32)
    assert abs(tinted.mean() - images.mean()) < 1e-4
    assert compare(_album(images), _album(tinted)).status == FAILED


def test_one_bad_image_among_many_good_ones_fails_and_is_numbered() -> None:
    images = _pictures(40)
    spoilt = images.copy()
    spoilt[22] = spoilt[22][::-1]
    verdict = compare(_album(images), _album(spoilt))
    assert verdict.status == FAILED
    assert "1 of 40 images unlike those stored, the worst first: 23;" in verdict.reason
    mean = float(verdict.reason.split("SSIM ")[1].split()[0])
    assert mean >= 0.98  # the average alone would have passed


def test_many_images_that_are_all_a_little_off_fail_by_their_average() -> None:
    images = _pictures(6)
    noise = np.random.default_rng(1).normal(0, 0.015, images.shape).astype(np.float32)
    verdict = compare(_album(images), _album(np.clip(images + noise, 0, 1)))
    assert verdict.status == FAILED and "6 of 6 images" in verdict.reason
    assert float(verdict.reason.split(" at worst")[0].split()[-1]) >= 0.85


def test_the_worst_images_are_named_first_and_at_most_eight() -> None:
    images = _pictures(12)
    spoilt = images[:, ::-1].copy()
    spoilt[4] = 1 - images[4]
    reason = compare(_album(images), _album(spoilt)).reason
    assert "12 of 12 images" in reason and "the worst first: 5, " in reason
    assert reason.split("first: ")[1].split(";")[0].count(",") == 8 and ", ...;" in reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_fails(value: float) -> None:
    images = _pictures(3)
    broken = images.copy()
    broken[1, 5, 5, 0] = value
    verdict = compare(_album(images), _album(broken))
    assert verdict.status == FAILED
    assert "1 of 3 images unlike those stored, 1 of them with non-finite" in verdict.reason
    assert "worst first: 2;" in verdict.reason


def test_images_of_another_size_than_was_asked_for_fail() -> None:
    images = _pictures(2)
    verdict = compare(_album(images), _album(images[:, :32, :32]))
    assert verdict.status == FAILED and "32x32 pixels against 64x64 stored" in verdict.reason


def test_only_images_with_the_same_prompt_and_seed_are_compared_wherever_they_stand() -> None:
    images = _pictures(4)
    stored = _album(images, seeds=(1, 2, 3, 4))
    made = _album(images[[3, 0, 1]], seeds=(4, 1, 9), prompts=("prompt 3", "prompt 0", "prompt 1"))
    verdict = compare(stored, made)
    assert verdict.status == PASSED and "2 images like those stored" in verdict.reason
    turned = _album(images[[0, 3, 1]], seeds=made.seeds, prompts=made.prompts)
    assert compare(stored, turned).status == FAILED


def test_images_from_other_prompts_are_not_compared() -> None:
    images = _pictures(3)
    verdict = compare(_album(images), _album(images[:2], prompts=("a cat", "a dog")))
    assert verdict.status == INCONCLUSIVE
    assert "none of the 2 images has the prompt and the seed of one of the 3" in verdict.reason


def test_without_stored_images_nothing_is_passed() -> None:
    verdict = compare(None, _album(_pictures(1)))
    assert verdict.status == INCONCLUSIVE and "--benchmark-record" in verdict.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "sd15"}, "model: sd15 here, miniature stored"),
        ({"weights": "local:1"}, "weights: local:1 here, embedded:0 stored"),
        ({"steps": 20}, "steps: 20 here, 25 stored"),
        ({"scheduler": "ddim"}, "scheduler: ddim here, pndm stored"),
        ({"guidance_scale": 7.5}, "guidance scale: 7.5 here, 2.0 stored"),
        ({"height": 32, "width": 32}, "height: 32 here, 64 stored; width: 32 here, 64 stored"),
    ],
)
def test_what_must_agree_and_does_not_is_named_and_nothing_compared(
    change: dict[str, Any], words: str
) -> None:
    stored = _album(_pictures(2))
    verdict = compare(stored, replace(_album(1 - _pictures(2)), **change))
    assert verdict.status == INCONCLUSIVE and words in verdict.reason


def test_other_dtypes_devices_and_versions_are_compared_and_named() -> None:
    stored = replace(_album(_pictures(2)), versions={"torch": "2.13.0", "diffusers": "0.42.1"})
    now = {"torch": "2.13.0", "diffusers": "0.43.0"}
    verdict = compare(stored, replace(stored, dtype="float16", device="cuda", versions=now))
    assert verdict.status == PASSED
    assert "since then diffusers 0.42.1 -> 0.43.0" in verdict.reason


def test_large_images_are_kept_small_by_averaging() -> None:
    large = np.repeat(np.repeat(_pictures(1), 8, axis=1), 4, axis=2)
    album = _album(large)
    assert album.thumbnails.shape == (1, SIDE, SIDE, 3)
    assert np.array_equal(album.thumbnails, _album(_pictures(1)).thumbnails)
    assert np.allclose(album.colours, large.mean(axis=(1, 2), dtype=np.float64))


def test_images_too_small_for_ssim_are_not_compared() -> None:
    small = _album(_pictures(1)[:, :8, :8], height=8, width=8)
    assert compare(small, small).status == INCONCLUSIVE


def test_an_album_needs_a_prompt_and_a_seed_for_each_image() -> None:
    with pytest.raises(ValueError, match="2 images, 2 prompts, 1 seeds"):
        _album(_pictures(2), seeds=(1,))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    album = _album(_pictures(3))
    path = golden_images_path(tmp_path, "some/model", "precision", "baseline")
    write_golden_images(path, album)
    back = read_golden_images(path)
    assert back is not None and path.parent.parent == tmp_path / "images"
    for name, value in vars(album).items():
        same = np.array_equal(value, getattr(back, name), equal_nan=name == "clip")
        assert same if name in _ARRAYS else value == getattr(back, name), name


def test_the_same_album_is_written_byte_for_byte(tmp_path: Path) -> None:
    album = _album(_pictures(2))
    for name in ("a.npz", "b.npz"):
        write_golden_images(tmp_path / name, album)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_there_is_no_album_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_golden_images(tmp_path / "none" / "gone.npz") is None
    assert find_golden_images(tmp_path, "no-such-model", "precision", "baseline") is None


def test_the_users_own_album_comes_before_the_shipped_one(tmp_path: Path) -> None:
    shipped = find_golden_images(tmp_path, "miniature", "precision", "baseline")
    assert shipped is not None and len(shipped.prompts) == 64
    own = _album(_pictures(2))
    write_golden_images(golden_images_path(tmp_path, "miniature", "precision", "baseline"), own)
    found = find_golden_images(tmp_path, "miniature", "precision", "baseline")
    assert found is not None and found.prompts == own.prompts


def test_a_write_that_fails_leaves_the_old_album_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "album.npz"
    write_golden_images(path, _album(_pictures(2)))
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LatentcyError, match="No space left"):
        write_golden_images(path, _album(_pictures(3)))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(LatentcyError, match="cannot be written"):
        write_golden_images(golden_images_path(tmp_path, "m", "g", "v"), _album(_pictures(1)))


def test_broken_images_are_not_stored(tmp_path: Path) -> None:
    images = _pictures(2)
    images[1, 0, 0, 0] = np.nan
    with pytest.raises(LatentcyError, match="non-finite"):
        write_golden_images(tmp_path / "album.npz", _album(images))
    with pytest.raises(LatentcyError, match="thumbnails of uint8"):
        write_golden_images(tmp_path / "album.npz", _album(_pictures(2)[:, :32, :32]))
    assert list(tmp_path.iterdir()) == []


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _foreign(path: Path) -> None:
    np.savez(path, weights=np.zeros(3))


def _bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _pickled(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([{"run": "this"}], dtype=object), allow_pickle=True)


def _pickled_inside(path: Path) -> None:
    _rewrite(path, clip=np.array([{}, {}], dtype=object))


def _short_of_an_image(path: Path) -> None:
    with np.load(path) as arrays:
        thumbnails = arrays["thumbnails"]
    _rewrite(path, thumbnails=thumbnails[:1])


def _not_finite(path: Path) -> None:
    _rewrite(path, colours=np.full((2, 3), np.nan))


@pytest.mark.parametrize(
    "spoil",
    [
        _truncated,
        _flipped,
        _foreign,
        _bare_array,
        _pickled,
        _pickled_inside,
        _short_of_an_image,
        _not_finite,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no images"),
        lambda path: _retell(path, seeds=["1", "2"]),
        lambda path: _retell(path, seeds=5),
        lambda path: _retell(path, steps=True),
        lambda path: _retell(path, versions=None),
        lambda path: _retell(path, case=None),
    ],
)
def test_a_file_that_is_no_sound_album_is_refused(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "album.npz"
    write_golden_images(path, _album(_pictures(2)))
    spoil(path)
    with pytest.raises(LatentcyError) as caught:
        read_golden_images(path)
    assert str(path) in caught.value.found and "damaged or no album" in caught.value.found
    assert "record it again" in caught.value.do


def test_an_album_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "album.npz"
    write_golden_images(path, _album(_pictures(2)))
    _retell(path, schema=99)
    with pytest.raises(LatentcyError, match="schema 99, not 1"):
        read_golden_images(path)


def test_a_folder_in_an_albums_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LatentcyError, match="cannot be read"):
        read_golden_images(tmp_path)


_ARRAYS = ("thumbnails", "colours", "clip")


def _rewrite(path: Path, **changed: np.ndarray) -> None:
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays}
    np.savez(path, **{**content, **changed})


def _retell(path: Path, **changed: Any) -> None:
    with np.load(path) as arrays:
        about = json.loads(arrays["about"].tobytes())
    text = json.dumps({**about, **changed}).encode()
    _rewrite(path, about=np.frombuffer(text, dtype=np.uint8))


def _case(variant: Variant, size: int = 64) -> Case:
    work = workload(GROUP_WORKLOADS[variant.group], height=size, width=size, guidance_scale=2.0)
    return Case(f"miniature/{variant.id}", variant, work)


def _pictures(count: int) -> np.ndarray:
    """float32 [count, 64, 64, 3], each another smooth picture within 0.1..0.9."""
    down, across = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    pictures = [
        0.5
        + 0.2 * np.sin(down[..., None] / (5 + one % 7) + across[..., None] / (9 + one) + channels)
        + 0.2 * down[..., None] / 64
        for one in range(count)
        for channels in (np.arange(3),)
    ]
    return np.stack(pictures).astype(np.float32)


def _album(
    images: np.ndarray,
    *,
    prompts: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    **changed: Any,
) -> GoldenImageSet:
    album = album_of(
        _case(DISTILLED),
        model=MINIATURE,
        device=CPU,
        weights="embedded:0",
        environment={"torch": "2.13.0", "os": "any"},
        images=images,
        prompts=prompts or [f"prompt {one}" for one in range(len(images))],
        seeds=range(len(images)) if seeds is None else seeds,
    )
    return replace(album, **changed)


def _stored(variant: Variant) -> GoldenImageSet:
    album = find_golden_images(Path("no-such-folder"), "miniature", variant.group, variant.name)
    assert album is not None
    return album


def _drawn(
    variant: Variant, *, images: int, batch: int = 4, first_seed: int = 2023
) -> GoldenImageSet:
    case = _case(variant)
    prompts = chosen_prompts(MINIATURE, None, images).prompts
    seeds = range(first_seed, first_seed + images)
    sampler = open_sampler(MINIATURE, variant, CPU, case.workload)
    try:
        made = sampler.observe(prompts, seeds, batch=batch)
    finally:
        sampler.close()
    return album_of(
        case,
        model=MINIATURE,
        device=CPU,
        weights=weights_identity(MINIATURE, variant),
        environment=environment(CPU),
        images=made.images,
        prompts=prompts,
        seeds=seeds,
    )


def _scaled(pipeline: Any) -> None:
    vae = pipeline.vae
    vae.register_to_config(scaling_factor=vae.config.scaling_factor * 1.2)
