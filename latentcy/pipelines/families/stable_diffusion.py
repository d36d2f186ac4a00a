"""Stable Diffusion 1.x: all that is particular to it.

diffusers and transformers take seconds to import, so they are imported where something is built:
which models there are is asked by many who build none.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from latentcy.pipelines.families.family import Family, StageCall, StageShapes

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

# Of the miniature, and of any other pipeline of images below this many pixels a side.
SMALL_GUIDANCE, SMALL_BELOW = 2.0, 256
GUIDANCE = 7.5  # as published

SYNTHETIC = ("unet", "unet-distilled", "vae", "vae-tiny", "text_encoder")
POSITIONS = 77  # tokens of a prompt, as in CLIP
VOCABULARY = 49408  # ids, as in CLIP


def image_size(denoiser: Mapping[str, Any], decoder: Mapping[str, Any]) -> int | None:
    """Pixels of a side, by the configs of a UNet and an autoencoder; None where they do not say."""
    sample, channels = denoiser.get("sample_size"), decoder.get("block_out_channels")
    if not isinstance(sample, int) or not isinstance(channels, list) or not channels:
        return None
    return sample * 2 ** (len(channels) - 1)


def _guidance_scale(size: int) -> float:
    return GUIDANCE if size >= SMALL_BELOW else SMALL_GUIDANCE


def guided_rows(pipeline: Any, guidance_scale: float) -> int:
    """Rows an image, as diffusers' do_classifier_free_guidance has it.

    A UNet that is told the scale itself (LCM) needs one.
    """
    told = getattr(pipeline.unet.config, "time_cond_proj_dim", None) is not None
    return 2 if guidance_scale > 1 and not told else 1


def noise_shape(pipeline: Any, height: int, width: int) -> tuple[int, int, int]:
    """(channels, height, width) of the latents of an image."""
    scale = pipeline.vae_scale_factor
    return pipeline.unet.config.in_channels, height // scale, width // scale


def embeddings(pipeline: Any, prompts: Sequence[str]) -> torch.Tensor:
    """[n, positions, width] float32 on the CPU, without guidance."""
    made = pipeline.encode_prompt(
        list(prompts),
        device=pipeline._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    return made[0].float().cpu()


def stage_calls(
    pipeline: Any, shapes: StageShapes, *, texts: int, added: Mapping[str, Any] | None = None
) -> dict[str, tuple[StageCall, ...]]:
    """The calls of a pipeline with a UNet between CLIP and an autoencoder.

    `texts` is how many prompts its text encoders read, `added` what its UNet is told besides.
    """
    positions = pipeline.tokenizer.model_max_length
    size, rows = (shapes.height, shapes.width), shapes.images * shapes.rows
    more = {} if added is None else {"added_cond_kwargs": added}

    def encode(encoder: Any) -> Any:
        return encoder(torch.zeros((texts, positions), dtype=torch.long, device="meta"))

    def denoise(unet: Any) -> Any:
        sample = torch.empty((rows, unet.config.in_channels, *size), device="meta")
        width = unet.config.cross_attention_dim
        text = torch.empty((rows, positions, width), device="meta")
        return unet(sample, torch.zeros((), device="meta"), text, **more)

    def decode(vae: Any) -> Any:
        channels = vae.config.latent_channels
        return vae.decode(torch.empty((shapes.images, channels, *size), device="meta"))

    encoders = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
    return {
        "text_encoding": tuple(StageCall(each, encode) for each in encoders if each is not None),
        "step": (StageCall(pipeline.unet, denoise),),
        "decoding": (StageCall(pipeline.vae, decode),),
    }


def _stage_calls(pipeline: Any, shapes: StageShapes) -> dict[str, tuple[StageCall, ...]]:
    return stage_calls(pipeline, shapes, texts=shapes.rows)


STABLE_DIFFUSION = Family(
    name="stable_diffusion",
    pipeline_class="StableDiffusionPipeline",
    denoiser="unet",
    decoder="vae",
    text_encoders=("text_encoder",),
    tokenizers=("tokenizer",),
    encode="encode_prompt",
    left_out={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    upcasts_decoder=False,
    distilled="unet-distilled",
    tiny="vae-tiny",
    image_size=image_size,
    guidance_scale=_guidance_scale,
    guided_rows=guided_rows,
    noise_shape=noise_shape,
    embeddings=embeddings,
    stage_calls=_stage_calls,
)


def configuration(part: str, *, small: bool, image_size: int) -> dict[str, Any]:
    """What a synthetic part's class is built with: the published size, or scaled down.

    Raises KeyError for a name that is not in SYNTHETIC.
    """
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
            "sample_size": image_size,
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


def empty_part(part: str, settings: dict[str, Any]) -> nn.Module:
    """The part on the meta device: its shapes, without memory for its weights."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        if part == "text_encoder":
            return CLIPTextModel(CLIPTextConfig(**settings)).eval()
        return getattr(diffusers, _CLASSES[part])(**settings).eval()


def assemble(parts: Mapping[str, nn.Module]) -> StableDiffusionPipeline:
    """The pipeline of synthetic parts, "unet", "vae" and "text_encoder", with its scheduler."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    scheduler = PNDMScheduler(**SCHEDULER_FILE)
    left_out = dict(STABLE_DIFFUSION.left_out)
    return StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer(),
        scheduler=scheduler,
        **left_out,
    )


def gains(part: nn.Module, name: str) -> dict[str, float]:
    """Of a synthetic part's weights, by name; what is not in it has 1."""
    if name != "vae-tiny":
        return _GAINS.get(name, {})
    branches = [place for place, _ in part.named_parameters() if place.endswith(".conv.4.weight")]
    last = f"decoder.layers.{len(part.decoder.layers) - 1}.weight"
    return {**dict.fromkeys(branches, _TINY_BRANCH), last: _TINY_OUT}


def finish(part: nn.Module, name: str) -> None:
    """What else a synthetic part needs once its weights are drawn."""
    if name == "vae-tiny":
        part.decoder.layers[-1].bias.data.fill_(_TINY_GREY)


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
