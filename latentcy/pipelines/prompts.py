"""The prompts by which quality is judged: the model's own set, or the user's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentcy.core.data import PROMPTS_FOLDER
from latentcy.core.errors import LatentcyError
from latentcy.pipelines.models.catalog import Model
from latentcy.pipelines.prompt_file import SEEDS, read_prompt_file

IMAGES = 16
FIRST_SEED = 2023  # the published page's


@dataclass(frozen=True)
class PromptSet:
    """Image i is prompts[i] from seeds[i]; `notes` are sentences for the user about the file."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()


def chosen_prompts(
    model: Model, file: Path | None, images: int, *, first_seed: int = FIRST_SEED
) -> PromptSet:
    """`images` prompts and their seeds; a set that is shorter is gone through again.

    With 0 images: 16 of ours, or every prompt of the file. Image i has the seed `first_seed` + i
    where the file states none; a stated one grows by the number of prompts each time the set is
    gone through again, as the others do, so that no image comes twice.

    Raises LatentcyError for a prompt file that cannot be read, or fewer images than 0.
    """
    if images < 0:
        raise LatentcyError(
            found=f"--images {images}", expected="0 or more images", do="ask for more images"
        )
    own = "miniature" if model.source == "embedded" else "general"
    read = read_prompt_file(file or PROMPTS_FOLDER / f"{own}.txt")
    length = len(read.prompts)
    images = images or (length if file else IMAGES)
    seeds = []
    for index in range(images):
        again, place = divmod(index, length)
        stated = read.seeds[place]
        seed = first_seed + place if stated is None else stated
        seeds.append((seed + again * length) % SEEDS)
    prompts = tuple(read.prompts[index % length] for index in range(images))
    return PromptSet(prompts, tuple(seeds), read.notes)


def prompt_set(model: Model, file: Path | None, images: int) -> tuple[str, ...]:
    """The prompts of `chosen_prompts` alone."""
    return chosen_prompts(model, file, images).prompts
