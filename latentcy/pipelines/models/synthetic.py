"""Real architectures with seeded random weights: right for latency and memory, nothing else.

Stable Diffusion v1's parts are built from their configurations, without a hub and without files.
The images are neither flat nor broken, and mean nothing.

diffusers and transformers take seconds to import, so they are where something is built: which
models there are is asked by many who build none.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

RECIPE = 1
"""The number of the way in which weights are drawn: raised whenever the same seed gives others."""

PARTS = ("unet", "unet-distilled", "vae", "vae-tiny", "text_encoder")
POSITIONS = 77  # tokens of a prompt, as in CLIP
VOCABULARY = 49408  # ids, as in CLIP

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
            **{part: configuration(self, part) for part in PARTS},
            "scheduler": SCHEDULER_FILE,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]


def build_pipeline(
    synthetic: Synthetic, *, unet: str, vae: str, dtype: torch.dtype, device: torch.device
) -> StableDiffusionPipeline:
    """A pipeline without safety checker, its parts in `dtype` on `device`.

    `unet` is "full" | "distilled", `vae` is "full" | "tiny". The numbers are drawn in fp32 on the
    CPU and then rounded, so they are the same for every dtype, device and process.
    """
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    drawn = torch.randn(_DRAWN, generator=torch.Generator("cpu").manual_seed(synthetic.seed))
    drawn = drawn.to(device)

    def part(name: str) -> nn.Module:
        empty = nn.Module.to(empty_part(synthetic, name), dtype)
        return _filled(empty.to_empty(device=device), name, drawn)

    return StableDiffusionPipeline(
        unet=part("unet-distilled" if unet == "distilled" else "unet"),
        vae=part("vae-tiny" if vae == "tiny" else "vae"),
        text_encoder=part("text_encoder"),
        tokenizer=tokenizer(),
        scheduler=PNDMScheduler(**SCHEDULER_FILE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def configuration(synthetic: Synthetic, part: str) -> dict[str, Any]:
    """What the part's class is built with. Raises KeyError for a name that is not in PARTS."""
    small = synthetic.small
    width = 96 if small else 768
    unet: dict[str, Any] = {
        "sample_size": 8 if small else 64,
        "block_out_channels": (32, 64, 128, 128) if small else (320, 640, 1280, 1280),
        "norm_num_groups": 8 if small else 32,
        "cross_attention_dim": width,
        "attention_head_dim": 8,
        "layers_per_block": 2,
    }
    tiny_channels = (16,) * 4 if small else (64,) * 4
    return {
        "unet": unet,
        # BK-SDM-Small: of each block one pair of layers less, and no mid block.
        "unet-distilled": {**unet, "layers_per_block": 1, "mid_block_type": None},
        "vae": {
            "block_out_channels": (16, 32, 64, 64) if small else (128, 256, 512, 512),
            "norm_num_groups": 8 if small else 32,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": synthetic.image_size,
            "scaling_factor": 0.18215,
        },
        "vae-tiny": {
            "encoder_block_out_channels": tiny_channels,
            "decoder_block_out_channels": tiny_channels,
        },
        "text_encoder": {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "projection_dim": width,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": POSITIONS,
            "vocab_size": VOCABULARY,
            "hidden_act": "quick_gelu",
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
            "pad_token_id": VOCABULARY - 1,
        },
    }[part]


def empty_part(synthetic: Synthetic, part: str) -> nn.Module:
    """The part on the meta device: its shapes, without memory for its weights."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    settings = configuration(synthetic, part)
    with torch.device("meta"):
        if part == "text_encoder":
            return CLIPTextModel(CLIPTextConfig(**settings)).eval()
        return getattr(diffusers, _CLASSES[part])(**settings).eval()


@functools.cache
def tokenizer() -> CLIPTokenizer:
    """A CLIPTokenizer of 77 positions and 49408 ids that needs no file: its ids are not CLIP's.

    It knows bytes, and pairs of small letters; the other ids are never given out. The first and
    the last token of a prompt, and the padding, have CLIP's ids.
    """
    from transformers import CLIPTokenizer

    # Byte-level BPE writes a byte as its own character, or as one from 256 on if it is not seen.
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 324))]
    small = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pairs = [(one, other + end) for end in ("</w>", "") for one in small for other in small]
    words = [*letters, *(f"{each}</w>" for each in letters), *(one + two for one, two in pairs)]
    unused = [f"<unused-{place}>" for place in range(VOCABULARY - 2 - len(words))]
    words += [*unused, "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = {word: place for place, word in enumerate(words)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        merges = ["#version: 0.2", *(f"{one} {two}" for one, two in pairs)]
        (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)


_CLASSES = {
    "unet": "UNet2DConditionModel",
    "unet-distilled": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "vae-tiny": "AutoencoderTiny",
}
SCHEDULER_FILE = {  # as Stable Diffusion v1's own files say
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
_TOKENIZER = {
    "tokenizer_class": "CLIPTokenizer",
    "model_max_length": POSITIONS,
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
# Gains that are not 1: noise predictions get about unit variance, images a spread that is neither
# flat nor all clamped, and the tiny autoencoder, which has no norms, does not grow block by block.
_GAINS = {
    "unet": {"conv_out.weight": 1.6},
    "unet-distilled": {"conv_out.weight": 1.6},
    "vae": {"decoder.conv_out.weight": 0.8},
}
_TINY_BRANCH = 0.3  # the last convolution of a residual branch
_TINY_OUT = 0.25  # the decoder's last convolution
_TINY_GREY = 0.5  # its bias: that decoder's images lie in 0..1


def _filled(part: nn.Module, name: str, drawn: torch.Tensor) -> nn.Module:
    """The part with every weight and buffer set: std gain / sqrt(fan in), biases 0, norms 1."""
    gains = _gains(part, name)
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
    if name == "vae-tiny":
        part.decoder.layers[-1].bias.data.fill_(_TINY_GREY)
    return part


def _gains(part: nn.Module, name: str) -> dict[str, float]:
    """By the weight's name in the part; what is not in it has 1."""
    if name != "vae-tiny":
        return _GAINS.get(name, {})
    branches = [place for place, _ in part.named_parameters() if place.endswith(".conv.4.weight")]
    last = f"decoder.layers.{len(part.decoder.layers) - 1}.weight"
    return {**dict.fromkeys(branches, _TINY_BRANCH), last: _TINY_OUT}


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
