"""A digest of weights: the same for a copy elsewhere, another for any other checkpoint."""

import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.models.fingerprint import weights_identity
from latentcy.pipelines.variants import Variant
from tiny import build_tiny

PLAIN = Variant("plain", "Nothing.")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def identity(folder, variant=PLAIN):
    return weights_identity(resolve_model(str(folder), find_device("cpu"))[0], variant)


def test_a_copy_elsewhere_is_the_same_and_says_no_path(built, tmp_path):
    copy = shutil.copytree(built, tmp_path / "another-name")
    assert identity(copy) == identity(built)
    assert identity(built).startswith("local:")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_one_changed_weight_of_a_small_file_is_another_checkpoint(built, tmp_path, part):
    copy = shutil.copytree(built, tmp_path / "copy")
    file = next((copy / "pipeline" / part).glob("*.safetensors"))
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] += 1.0
    save_file(tensors, file, metadata={"format": "pt"})
    assert identity(copy) != identity(built)


def test_a_variant_is_known_by_the_parts_that_it_runs(built):
    distilled, tiny = replace(PLAIN, unet="distilled"), replace(PLAIN, vae="tiny")
    assert len({identity(built, each) for each in (PLAIN, distilled, tiny)}) == 3


def test_large_files_are_sampled_and_still_told_apart(built, tmp_path, monkeypatch):
    monkeypatch.setattr("latentcy.pipelines.models.fingerprint._BLOCK", 64)
    copy = shutil.copytree(built, tmp_path / "copy")
    before = identity(copy)
    file = next((copy / "pipeline" / "unet").glob("*.safetensors"))
    tensors = {name: tensor * 1.5 for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    assert identity(copy) != before
