"""The published workloads and their noise."""

from __future__ import annotations

import pytest
import torch

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.workload import starting_latents, workload

SIZE = {"height": 512, "width": 512, "guidance_scale": 7.5}


def test_an_error_says_what_was_found_expected_and_to_be_done() -> None:
    lines = str(LatentcyError(found="a", expected="b", do="c")).splitlines()
    assert [line.split() for line in lines] == [["found", "a"], ["expected", "b"], ["do", "c"]]


@pytest.mark.parametrize(
    ("name", "images", "steps", "scheduler", "repeats"),
    [("single", 1, 50, "ddim", 1), ("batch", 4, 25, "pndm", 3)],
)
def test_a_workload_is_the_published_one(
    name: str, images: int, steps: int, scheduler: str, repeats: int
) -> None:
    made = workload(name, **SIZE)
    assert made.prompt == "a photo of an astronaut riding a horse on mars"
    assert (len(made.seeds), made.steps, made.scheduler, made.repeats) == (
        images,
        steps,
        scheduler,
        repeats,
    )
    assert (made.height, made.width, made.guidance_scale) == (512, 512, 7.5)


def test_an_unknown_workload_is_refused() -> None:
    with pytest.raises(LatentcyError, match="'double'"):
        workload("double", **SIZE)


def test_noise_depends_on_the_seed_alone_and_not_on_its_place_in_the_batch() -> None:
    size = {"channels": 4, "height": 8, "width": 6}
    both = starting_latents((5, 7), **size)
    assert both.shape == (2, 4, 8, 6) and both.dtype == torch.float32
    assert torch.equal(both[1:], starting_latents((7,), **size))
    assert not torch.equal(both[0], both[1])


def test_making_noise_leaves_torchs_own_generator_alone() -> None:
    before = torch.random.get_rng_state()
    starting_latents((1,), channels=4, height=8, width=8)
    assert torch.equal(before, torch.random.get_rng_state())
