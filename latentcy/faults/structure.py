"""Blur, noise, seams, damage, and weights that are not those that were trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from latentcy.faults.changes import attentions, on_decoded, on_predicted, through
from latentcy.faults.fault import Fault, Prepare

Change = Callable[[torch.Tensor], torch.Tensor]


def painted(change: Change) -> Prepare:
    """A change of the decoder's output, [n, 3, height, width] in -1..1."""
    return lambda pipeline: on_decoded(pipeline, change)


def blur(image: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(functional.pad(image, (1, 1, 1, 1), "replicate"), 3, stride=1)


def grain(image: torch.Tensor) -> torch.Tensor:
    """The same grain in every image, so that it repeats."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape[1:], generator=generator)
    return image + 0.06 * noise.to(image)


def checkered(image: torch.Tensor) -> torch.Tensor:
    """What an upsampling that does not fit leaves: every second pixel brighter."""
    rows = torch.arange(image.shape[-2], device=image.device)[:, None]
    columns = torch.arange(image.shape[-1], device=image.device)
    return image + 0.05 * (1 - 2 * ((rows + columns) % 2)).to(image)


def damage_corner(image: torch.Tensor) -> torch.Tensor:
    image = image.clone()
    image[..., :12, :12] = image[..., :12, :12].flip(-3, -2)
    image[..., :6, :6] *= -1
    return image


def darken_band(image: torch.Tensor) -> torch.Tensor:
    image = image.clone()
    image[..., -6:, :] = -1.0
    return image


def decode_in_tiles(pipeline: Any) -> None:
    """Two halves decoded apart and put side by side, without overlap."""

    def decode(original: Any, z: torch.Tensor, *rest: Any, **settings: Any) -> Any:
        halves = [original(half, *rest, **settings) for half in z.chunk(2, dim=-1)]
        if isinstance(halves[0], tuple):
            return (torch.cat([half[0] for half in halves], dim=-1),)
        halves[0].sample = torch.cat([half.sample for half in halves], dim=-1)
        return halves[0]

    through(pipeline.vae, "decode", decode)


def drop_head(pipeline: Any) -> None:
    """One head of each attention to the prompt gives nothing."""
    for attention in attentions(pipeline.unet, kind="attn2"):
        width = attention.to_out[0].in_features // attention.heads
        attention.to_out[0].weight.data[:, :width] = 0


def drop_block(pipeline: Any) -> None:
    """The middle block hands on what it is given."""
    through(pipeline.unet.mid_block, "forward", lambda original, sample, *rest, **more: sample)


def drop_skip(pipeline: Any) -> None:
    """The last up block is given nothing by the first down block."""

    def forward(original: Any, *rest: Any, res_hidden_states_tuple: tuple, **more: Any) -> Any:
        nothing = tuple(torch.zeros_like(one) for one in res_hidden_states_tuple)
        return original(*rest, res_hidden_states_tuple=nothing, **more)

    through(pipeline.unet.up_blocks[-1], "forward", forward)


def zero_half(pipeline: Any) -> None:
    """Half of a layer's weights were never read from the file."""
    layer = pipeline.unet.up_blocks[-1].resnets[-1].conv1
    layer.weight.data[: layer.out_channels // 2] = 0


def quantise(levels: int) -> Prepare:
    """The UNet's linear layers rounded to so many levels, one scale for a whole layer."""

    def prepare(pipeline: Any) -> None:
        for module in pipeline.unet.modules():
            if isinstance(module, nn.Linear):
                weight = module.weight.data
                step = 2 * weight.abs().max() / (levels - 1)
                weight.copy_(((weight / step + 0.5).round() - 0.5) * step)

    return prepare


def misscale_attention(pipeline: Any) -> None:
    """Logits divided by the width of a head instead of its square root."""
    for attention in attentions(pipeline.unet):
        attention.to_q.weight.data.mul_((attention.to_q.out_features // attention.heads) ** -0.5)


def mask_padding_only(pipeline: Any) -> None:
    """The mask of the prompt upside down: its words are left out, the padding is looked at."""

    def forward(original: Any, *rest: Any, encoder_hidden_states: torch.Tensor, **more: Any) -> Any:
        mask = torch.ones(encoder_hidden_states.shape[:2], device=encoder_hidden_states.device)
        mask[:, :12] = 0
        settings = more | {"encoder_attention_mask": mask}
        return original(*rest, encoder_hidden_states=encoder_hidden_states, **settings)

    through(pipeline.unet, "forward", forward)


def soften_norms(pipeline: Any) -> None:
    """Group norms with an eps of another framework's layer."""
    for module in pipeline.unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.eps = 0.1


def swap_gelu(pipeline: Any) -> None:
    """The gated layers with ReLU for GELU."""
    for module in pipeline.unet.modules():
        if type(module).__name__ == "GEGLU":
            module.gelu = functional.relu


def leave_lora(share: float) -> Prepare:
    """A low-rank change left in the attention's weights, `share` of their size."""

    def prepare(pipeline: Any) -> None:
        generator = torch.Generator().manual_seed(4)
        for attention in attentions(pipeline.unet):
            for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]):
                out, into = layer.weight.shape
                up = torch.randn(out, 4, generator=generator)
                down = torch.randn(4, into, generator=generator)
                delta = (up @ down).to(layer.weight)
                layer.weight.data.add_(share * layer.weight.norm() / delta.norm() * delta)

    return prepare


def transpose_values(pipeline: Any) -> None:
    """A square weight that was stored the other way round."""
    for attention in attentions(pipeline.unet, kind="attn1"):
        attention.to_v.weight.data = attention.to_v.weight.data.T.contiguous()


def swap_layers(pipeline: Any) -> None:
    """The weights of two layers of one shape change places."""
    first, second = pipeline.unet.up_blocks[-1].resnets[1:3]
    one, other = first.conv2.weight.data.clone(), second.conv2.weight.data.clone()
    first.conv2.weight.data.copy_(other)
    second.conv2.weight.data.copy_(one)


def clamp_activations(pipeline: Any) -> None:
    """Predictions clamped to a range that is too small for them."""
    on_predicted(pipeline, lambda noise, timestep: noise.clamp(-1.0, 1.0))


def round_predictions(pipeline: Any) -> None:
    """Predictions carried in three bits of mantissa."""

    def rounded(noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return noise.to(torch.float8_e5m2).to(noise.dtype)

    on_predicted(pipeline, rounded)


SHAPES = ("SSIM", "local SSIM", "image distance")
WEIGHTS = (*SHAPES, "CLIP")
FAULTS = (
    Fault(
        "blurred",
        "Every pixel is the mean of its nine neighbours.",
        "lllyasviel/Fooocus#925",
        painted(blur),
        ("sharpness", "SSIM"),
        r"sharpness -|SSIM",
    ),
    Fault(
        "grain",
        "Noise of 3 % of the range is left on every image.",
        "huggingface/diffusers#5689",
        painted(grain),
        ("sharpness", "SSIM"),
        r"sharpness \+|grain \+|SSIM",
    ),
    Fault(
        "checkered",
        "A faint chessboard of single pixels lies over every image.",
        "huggingface/diffusers#13772",
        painted(checkered),
        ("sharpness", "SSIM"),
        r"sharpness \+|grain \+|SSIM",
    ),
    Fault(
        "seam",
        "The image is decoded in two tiles without overlap.",
        "Comfy-Org/ComfyUI#163",
        decode_in_tiles,
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "damaged-corner",
        "One corner of every image is damaged.",
        "atomantic/PortOS#2503",
        painted(damage_corner),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "black-band",
        "The lowest rows of every image are black.",
        "atomantic/PortOS#2503",
        painted(darken_band),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "mirrored",
        "Left and right change places.",
        "GregDMeyer/IT8951#25, another kind of picture",
        painted(lambda image: image.flip(-1)),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "upside-down",
        "Top and bottom change places.",
        "ziotom78/pytracer#3, another kind of picture",
        painted(lambda image: image.flip(-2)),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "shifted-one-pixel",
        "Every image is moved by one pixel.",
        "divamgupta/stable-diffusion-tensorflow#41",
        painted(lambda image: image.roll(1, dims=-1)),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "transposed",
        "Height and width change places.",
        "a transposed axis in a port",
        painted(lambda image: image.transpose(-1, -2)),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "head-dropped",
        "One head of each attention to the prompt gives nothing.",
        "a slice of an attention layer lost in conversion",
        drop_head,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "block-dropped",
        "The UNet's middle block is left out.",
        "nota-ai/bk-sdm-small: a UNet without its middle block",
        drop_block,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "skip-dropped",
        "The last up block gets nothing of the first down block.",
        "a skip connection lost in conversion",
        drop_skip,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "half-a-layer-zero",
        "Half of one layer's weights are zero.",
        "a tensor of which only a part was read from its file",
        zero_half,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "four-levels",
        "The UNet's linear layers have four levels each.",
        "unslothai/unsloth#6772",
        quantise(4),
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "sixteen-levels",
        "The UNet's linear layers have sixteen levels, one scale for a whole layer.",
        "unslothai/unsloth#6772",
        quantise(16),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "attention-scale",
        "Attention logits are divided by the head's width, not by its root.",
        "an attention kernel with a default scale of its own",
        misscale_attention,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "attention-mask",
        "The prompt's mask is upside down, so that only padding is looked at.",
        "a mask whose meaning is turned round in a port",
        mask_padding_only,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "group-norm-eps",
        "The UNet's group norms have an eps of 0.1.",
        "ml-explore/mlx-examples#1434",
        soften_norms,
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "gelu-swapped",
        "The gated layers have ReLU where GELU was trained.",
        "mindspore-lab/mindone#225",
        swap_gelu,
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "lora-residue",
        "A twentieth of a LoRA stays in the weights after unfusing.",
        "huggingface/diffusers#4833",
        leave_lora(0.15),
        SHAPES,
        "SSIM|image distance",
    ),
    Fault(
        "values-transposed",
        "Square value matrices are stored the other way round.",
        "a transposed axis in a port",
        transpose_values,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "layers-swapped",
        "Two layers of one shape have each other's weights.",
        "huggingface/diffusers#10198",
        swap_layers,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "range-clamped",
        "Predictions are clamped to -1..1.",
        "huggingface/diffusers#557",
        clamp_activations,
        WEIGHTS,
        "SSIM|CLIP|image distance",
    ),
    Fault(
        "eight-bit-predictions",
        "Predictions are carried in float8 with two bits of mantissa.",
        "huggingface/optimum-quanto#231",
        round_predictions,
        SHAPES,
        "SSIM|image distance",
    ),
)
