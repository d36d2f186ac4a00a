"""The prompts by which quality is judged: the model's own set, or the user's file."""

from __future__ import annotations

from pathlib import Path

from latentcy.errors import LatentcyError
from latentcy.generate.models import Model
from latentcy.generate.workloads import read_prompts

PROMPTS_FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "prompts"


def prompt_set(model: Model, file: Path | None, images: int) -> tuple[str, ...]:
    """`images` prompts; a set that is shorter is gone through again (with other seeds).

    Raises LatentcyError for a prompt file that cannot be read, or fewer than one image.
    """
    if images < 1:
        raise LatentcyError(
            found=f"--images {images}", expected="at least 1 image", do="ask for more images"
        )
    own = "miniature" if model.source == "embedded" else "general"
    prompts = read_prompts(file or PROMPTS_FOLDER / f"{own}.txt")
    return tuple(prompts[index % len(prompts)] for index in range(images))
