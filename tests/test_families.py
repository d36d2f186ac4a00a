"""The seam: what is particular to one kind of pipeline is said by its family, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.families import (
    FAMILIES,
    STABLE_DIFFUSION,
    decoder_of,
    denoiser_of,
    family_named,
    family_of,
)
from latentcy.pipelines.models.weights import check_pipeline
from tiny import build_tiny

ENGINE = Path(__file__).resolve().parents[1] / "latentcy"
WORDS = re.compile(r"\b(unet|vae|encode_prompt|text_encoder|StableDiffusionPipeline)\b")
# What may name the parts of one family, and why.
EXEMPT = {
    "pipelines/optimizations/deepcache.py": "for UNets alone",
    "pipelines/optimizations/hoisting.py": "for UNets alone",
    "pipelines/optimizations/recipes.py": "for UNets alone, and for this autoencoder's tiles",
    "pipelines/variants/stack.py": "names those optimizations",
    "pipelines/variants/variant.py": "fields that users' files state",
    "pipelines/variants/published.py": "variants of the published page, of Stable Diffusion 1.x",
    "gates/published_claims.py": "claims of that page, which name its variants",
    "studies/tolerances/healthy.py": "names those variants",
    "core/costs.py": "an example of a component's name",
}
# The families themselves, the fault catalogue, training, the old path.
ROOMS = ("pipelines/families/", "faults/", "miniature/", "generate/")


@pytest.mark.parametrize("file", sorted(ENGINE.rglob("*.py")), ids=lambda one: one.stem)
def test_only_a_family_names_its_parts(file):
    name = file.relative_to(ENGINE).as_posix()
    named = WORDS.findall(file.read_text(encoding="utf-8"))
    if name in EXEMPT:
        assert named, f"{name} needs no exemption any more"
    elif not name.startswith(ROOMS):
        assert not named, f"{name} names {', '.join(sorted(set(named)))}"


def test_a_pipeline_is_of_the_family_of_a_class_that_it_is_derived_from():
    class Own(StableDiffusionPipeline):
        pass

    assert family_of(Own.__new__(Own)) is STABLE_DIFFUSION
    assert family_named("StableDiffusionPipeline") is STABLE_DIFFUSION
    assert family_named("FluxPipeline") is None


def test_a_wrapper_is_of_the_family_whose_parts_it_has():
    wrapper = SimpleNamespace(unet=torch.nn.Identity(), vae=torch.nn.ReLU())
    assert family_of(wrapper) is STABLE_DIFFUSION
    assert isinstance(denoiser_of(wrapper), torch.nn.Identity)
    assert isinstance(decoder_of(wrapper), torch.nn.ReLU)
    with pytest.raises(AttributeError):
        denoiser_of(SimpleNamespace())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.name)
def test_the_parts_of_a_family_are_those_of_its_class(family, tmp_path):
    import inspect

    import diffusers

    taken = inspect.signature(getattr(diffusers, family.pipeline_class).__init__).parameters
    assert set(family.parts) <= set(taken)
    assert set(family.weighted) == set(family.in_order)
    assert set(family.left_out) <= set(taken)


def test_a_folder_says_of_which_family_it_is(tmp_path):
    folder = build_tiny(tmp_path) / "pipeline"
    assert check_pipeline(folder) is STABLE_DIFFUSION
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))
    with pytest.raises(LatentcyError, match="a FluxPipeline"):
        check_pipeline(folder)
