"""Black, flat and non-finite images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from latentcy.faults.changes import attentions, on_decoded, on_latents, on_predicted, through
from latentcy.faults.fault import Fault
from latentcy.measure.diagnosis.overflow import provoke_overflow
from latentcy.pipelines.optimizations.recipes import eager_attention

# Two steps: float16 is slow on a CPU, and these are black however long they run.
HALF = {"dtype": "float16", "steps": 2}


def overflow_attention(pipeline: Any) -> None:
    """Keys shifted by one vector: softmax takes the shift out again, unless it overflows first."""
    eager_attention(pipeline)
    attention = next(attentions(pipeline.unet.mid_block))
    plain = attention.to_k
    shifted = nn.Linear(plain.in_features, plain.out_features).to(plain.weight)
    shifted.weight.data.copy_(plain.weight)
    shifted.bias.data.fill_(6e4)
    attention.to_k = shifted


def overflow_decoder(pipeline: Any) -> None:
    """A convolution before a group norm rescaled: the norm takes the scale out again in fp32."""
    provoke_overflow(pipeline.vae)


def overflow_residual(pipeline: Any) -> None:
    """A UNet block whose inner sums pass 65504, which its group norm would divide out in fp32."""
    block = pipeline.unet.mid_block.resnets[0]
    for layer in (block.conv1, block.time_emb_proj):
        layer.weight.data.mul_(2.0**13)
        layer.bias.data.mul_(2.0**13)


def overflow_text_encoder(pipeline: Any) -> None:
    """One channel of the residual stream grows past 65504 from layer to layer."""
    for name, layer in pipeline.text_encoder.named_modules():
        if name.endswith("fc2"):
            layer.bias.data[0] += 4e4


def lose_upcast(pipeline: Any) -> None:
    """Softmax written out, exp over sum, in the dtype of the weights and without its maximum."""
    eager_attention(pipeline)
    attention = next(attentions(pipeline.unet.mid_block))

    def scores(query: torch.Tensor, key: torch.Tensor, mask: Any = None) -> torch.Tensor:
        logits = torch.bmm(query, key.transpose(1, 2)) * attention.scale
        raised = torch.exp(logits + 11)  # in float32 any shift cancels
        return raised / raised.sum(-1, keepdim=True)

    attention.get_attention_scores = scores


def nan_at_one_step(pipeline: Any) -> None:
    """One UNet block gives a NaN, late in the denoising only."""
    now: list[torch.Tensor] = []

    def forward(original: Any, sample: torch.Tensor, timestep: Any, *rest: Any, **more: Any) -> Any:
        now[:] = [torch.as_tensor(timestep)]
        return original(sample, timestep, *rest, **more)

    def block(original: Any, *arguments: Any, **settings: Any) -> torch.Tensor:
        made = original(*arguments, **settings)
        return torch.where(now[0] < 200, torch.nan, made)

    through(pipeline.unet, "forward", forward)
    through(pipeline.unet.mid_block.resnets[1], "forward", block)


def fuse_nan(pipeline: Any) -> None:
    """One NaN in a LoRA's weights, added to a layer's."""
    layer = list(attentions(pipeline.unet))[-1].to_q
    delta = torch.zeros_like(layer.weight)
    delta[0, 0] = torch.nan
    layer.weight.data.add_(delta)


def divide_by_zero(pipeline: Any) -> None:
    """Zero terminal signal-to-noise with a model that predicts noise: the first step has 1 / 0."""
    settings = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **settings)


def black_without_nan(pipeline: Any) -> None:
    """The decoder's NaN is made the darkest value before anybody can see it."""
    on_decoded(pipeline, lambda image: torch.where(image == image, image * torch.nan, image))
    on_decoded(pipeline, lambda image: torch.nan_to_num(image, nan=-1.0))


def grey_without_nan(pipeline: Any) -> None:
    """The latents' NaN is made zero on the way into the decoder."""
    on_latents(pipeline, lambda latents: torch.nan_to_num(latents * torch.nan))


def block_all(pipeline: Any) -> None:
    """A safety checker that takes every sound image for an unsafe one."""

    def check(original: Any, image: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, list[bool]]:
        return torch.zeros_like(image), [True] * len(image)

    through(pipeline, "run_safety_checker", check)


def block_one(pipeline: Any) -> None:
    """A safety checker that takes the last image of each call for an unsafe one."""

    def check(original: Any, image: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, list[bool]]:
        shown = torch.cat([image[:-1], torch.zeros_like(image[-1:])])
        return shown, [False] * (len(image) - 1) + [True]

    through(pipeline, "run_safety_checker", check)


def block_nan(pipeline: Any) -> None:
    """The decoder gives NaN, and the safety checker takes that for an unsafe image."""
    on_decoded(pipeline, lambda image: image * torch.nan)
    block_all(pipeline)


def black_above_two(pipeline: Any) -> None:
    """The index of a kernel overflows when more than two images are decoded at once."""
    on_decoded(pipeline, lambda image: image if len(image) <= 2 else torch.full_like(image, -1.0))


def black_one_prompt(pipeline: Any) -> None:
    """A prompt of many tokens overflows; others do not."""

    def encode(original: Any, prompt: Any, *rest: Any, **more: Any) -> Any:
        text, empty = original(prompt, *rest, **more)
        prompts = [prompt] * len(text) if isinstance(prompt, str) else prompt
        for index, words in enumerate(prompts):
            if "horse" in words:
                text[index] = torch.inf
        return text, empty

    through(pipeline, "encode_prompt", encode)


def nan_where_dark(pipeline: Any) -> None:
    """The darkest pixel of each image is NaN: the logarithm of what is not above zero."""
    on_decoded(
        pipeline,
        lambda image: torch.where(image == image.amin((1, 2, 3), keepdim=True), torch.nan, image),
    )


def saturate_black(pipeline: Any) -> None:
    """The decoder's last bias is far off, so that all of the image is below the darkest value."""
    pipeline.vae.decoder.conv_out.bias.data.sub_(5.0)


def infinite_prediction(pipeline: Any) -> None:
    """The UNet's prediction overflows where the noise is strongest."""
    on_predicted(pipeline, lambda noise, t: torch.where(t > 700, noise * torch.inf, noise))


IMAGES = ("black images",)
FAULTS = (
    Fault(
        "attention-overflow",
        "Attention logits pass 65504 in float16.",
        "huggingface/diffusers#1614",
        overflow_attention,
        IMAGES,
        "unet, .*mid_block.*attn.*float16",
        HALF,
    ),
    Fault(
        "autocast-overflow",
        "Attention logits overflow under autocast, whose weights are float32.",
        "huggingface/diffusers#1590",
        overflow_attention,
        IMAGES,
        "unet, .*mid_block.*attn.*float16",
        {"autocast": "float16", "cpu_autocast": "float16", "steps": 2},
    ),
    Fault(
        "decoder-overflow",
        "A convolution of the decoder passes 65504 in float16.",
        "huggingface/diffusers#4083",
        overflow_decoder,
        IMAGES,
        r"vae, .*decoder\.mid_block\.resnets\.0\.conv1.*float16",
        HALF,
    ),
    Fault(
        "residual-overflow",
        "The sums inside a UNet block pass 65504 in float16.",
        "pytorch/pytorch#58123",
        overflow_residual,
        IMAGES,
        r"unet, .*mid_block\.resnets\.0.*float16",
        HALF,
    ),
    Fault(
        "text-encoder-overflow",
        "The residual stream of the text encoder passes 65504 in float16.",
        "huggingface/diffusers#9097",
        overflow_text_encoder,
        IMAGES,
        "text_encoder, .*float16",
        HALF,
    ),
    Fault(
        "upcast-lost",
        "A softmax that was computed in float32 is computed in float16 again.",
        "vladmandic/sdnext#2193",
        lose_upcast,
        IMAGES,
        "unet, .*mid_block.*attn.*float16",
        HALF,
    ),
    Fault(
        "nan-at-one-step",
        "One UNet block gives a NaN, in the last steps only.",
        "pytorch/pytorch#58123",
        nan_at_one_step,
        IMAGES,
        r"unet, .*mid_block.*call [78]\b",
    ),
    Fault(
        "lora-nan",
        "A LoRA that holds a NaN has been fused into the weights.",
        "huggingface/diffusers#5316",
        fuse_nan,
        IMAGES,
        "its weights hold NaN",
    ),
    Fault(
        "zero-snr-division",
        "A schedule with zero terminal SNR divides by zero in its first step.",
        "arXiv:2305.08891, section 3.1",
        divide_by_zero,
        IMAGES,
        "non-finite",
    ),
    Fault(
        "infinite-prediction",
        "The UNet's prediction is infinite in the noisiest steps.",
        "huggingface/optimum-quanto#231",
        infinite_prediction,
        IMAGES,
        "unet",
    ),
    Fault(
        "nan-made-black",
        "A NaN from the decoder is made black before anybody sees it.",
        "huggingface/diffusers#4083",
        black_without_nan,
        IMAGES,
        "black",
    ),
    Fault(
        "nan-made-grey",
        "NaN latents are made zeros, and the decoder paints one flat colour.",
        "huggingface/diffusers#4083",
        grey_without_nan,
        (*IMAGES, "CLIP"),
        "contrast|flat|CLIP",
    ),
    Fault(
        "safety-checker",
        "The safety checker blacks every sound image.",
        "CompVis/stable-diffusion#239",
        block_all,
        IMAGES,
        "safety checker",
    ),
    Fault(
        "safety-checker-last",
        "The safety checker blacks the last image of each call.",
        "CompVis/stable-diffusion#239",
        block_one,
        IMAGES,
        "safety checker",
    ),
    Fault(
        "nan-called-unsafe",
        "A NaN is taken for an unsafe image and blacked.",
        "pytorch/TensorRT#3059",
        block_nan,
        IMAGES,
        "non-finite",
    ),
    Fault(
        "black-above-two",
        "More than two images in one call come out black.",
        "facebookresearch/xformers#719",
        black_above_two,
        IMAGES,
        "black",
    ),
    Fault(
        "one-prompt-overflows",
        "Prompts with one certain word overflow, all others are sound.",
        "huggingface/diffusers#9097",
        black_one_prompt,
        IMAGES,
        r"\d of 8 images|image",
    ),
    Fault(
        "few-nan-pixels",
        "The darkest pixel of each image is NaN, which a cast makes black.",
        "numpy: RuntimeWarning, invalid value encountered in cast",
        nan_where_dark,
        IMAGES,
        "non-finite",
    ),
    Fault(
        "saturated-black",
        "The decoder's values all lie below the darkest one.",
        "a bias of other units in a converted decoder",
        saturate_black,
        IMAGES,
        "black",
    ),
)
