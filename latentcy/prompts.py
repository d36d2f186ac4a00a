"""The prompts by which quality is judged: the model's own set, or the user's file."""

from __future__ import annotations

from pathlib import Path

from latentcy.errors import LatentcyError
from latentcy.generate.models import Model
from latentcy.generate.workloads import read_prompts

IMAGES = 16
PROMPTS_FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "prompts"


def prompt_set(model: Model, file: Path | None, images: int) -> tuple[str, ...]:
    """`images` prompts; a set that is shorter is gone through again (with other seeds).

    With 0 images: 16 of ours, or every prompt of the file. Raises LatentcyError for a prompt file
    that cannot be read, or fewer images than that.
    """
    if images < 0:
        raise LatentcyError(
            found=f"--images {images}", expected="0 or more images", do="ask for more images"
        )
    own = "miniature" if model.source == "embedded" else "general"
    prompts = read_prompts(file or PROMPTS_FOLDER / f"{own}.txt")
    images = images or (len(prompts) if file else IMAGES)
    return tuple(prompts[index % len(prompts)] for index in range(images))
