"""Real architectures with seeded random weights: right for latency and memory, nothing else.

The family's parts are built from their configurations, without a hub and without files. The images
are neither flat nor broken, and mean nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from latentcy.pipelines.families import STABLE_DIFFUSION, stable_diffusion
from latentcy.pipelines.families.stable_diffusion import SYNTHETIC

RECIPE = 1
"""The number of the way in which weights are drawn: raised whenever the same seed gives others."""

# Normal numbers that all weights are taken from. A prime, so that no two rows of a matrix that is
# larger than this are the same numbers.
_DRAWN = 2**24 - 3
_NORMS = (nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Synthetic:
    """Which random weights: a seed, and the published size or the same topology scaled down."""

    seed: int
    small: bool = False  # channels an eighth or a tenth, 64 pixels: for tests on a CPU

    @property
    def image_size(self) -> int:
        """Height and width in pixels that the UNet is made for."""
        return 64 if self.small else 512

    @property
    def digest(self) -> str:
        """Twelve characters that change with the seed, a configuration or the recipe."""
        described = {
            "recipe": RECIPE,
            "seed": self.seed,
            **{part: configuration(self, part) for part in SYNTHETIC},
            "scheduler": stable_diffusion.SCHEDULER_FILE,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]


def build_pipeline(
    synthetic: Synthetic, *, denoiser: str, decoder: str, dtype: torch.dtype, device: torch.device
) -> Any:
    """A pipeline without safety checker, its parts in `dtype` on `device`.

    `denoiser` and `decoder` are names of SYNTHETIC. The numbers are drawn in fp32 on the CPU and
    then rounded, so they are the same for every dtype, device and process.
    """
    drawn = torch.randn(_DRAWN, generator=torch.Generator("cpu").manual_seed(synthetic.seed))
    drawn = drawn.to(device)

    def part(name: str) -> nn.Module:
        empty = nn.Module.to(empty_part(synthetic, name), dtype)
        return _filled(empty.to_empty(device=device), name, drawn)

    family = STABLE_DIFFUSION
    names = {family.denoiser: denoiser, family.decoder: decoder}
    names |= {name: name for name in family.text_encoders}
    return stable_diffusion.assemble({name: part(made) for name, made in names.items()})


def configuration(synthetic: Synthetic, part: str) -> dict[str, Any]:
    """What the part's class is built with. Raises KeyError for a name that is not in SYNTHETIC."""
    return stable_diffusion.configuration(
        part, small=synthetic.small, image_size=synthetic.image_size
    )


def empty_part(synthetic: Synthetic, part: str) -> nn.Module:
    """The part on the meta device: its shapes, without memory for its weights."""
    return stable_diffusion.empty_part(part, configuration(synthetic, part))


def _filled(part: nn.Module, name: str, drawn: torch.Tensor) -> nn.Module:
    """The part with every weight and buffer set: std gain / sqrt(fan in), biases 0, norms 1."""
    gains = stable_diffusion.gains(part, name)
    for path, module in part.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            place = f"{path}.{key}".lstrip(".")
            if parameter.dim() < 2:
                parameter.data.fill_(1.0 if isinstance(module, _NORMS) and key == "weight" else 0.0)
            else:
                fan_in = 1 if isinstance(module, nn.Embedding) else parameter[0].numel()
                std = gains.get(place, 1.0) / math.sqrt(fan_in)
                # transformers 5 has dropped the prefix; the weights are to stay the same.
                label = f"{name}/{place.removeprefix('text_model.')}"
                _fill(parameter.data, std, label, drawn)
        for key, buffer in module.named_buffers(recurse=False):
            if key != "position_ids":
                raise ValueError(f"buffer {path}.{key} of {name}, whose content is not known")
            buffer.copy_(torch.arange(buffer.numel(), device=buffer.device).expand(buffer.shape))
    stable_diffusion.finish(part, name)
    return part


@torch.no_grad()
def _fill(tensor: torch.Tensor, std: float, label: str, drawn: torch.Tensor) -> None:
    """Copy the drawn numbers times `std`, from a place that the label says, around and around.

    Drawing 860 million numbers takes seconds for every case that is opened; copying does not.
    """
    flat = tensor.view(-1)
    place = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") % len(drawn)
    done = 0
    while done < len(flat):
        count = min(len(flat) - done, len(drawn) - place)
        flat[done : done + count].copy_(drawn[place : place + count] * std)
        done, place = done + count, (place + count) % len(drawn)
