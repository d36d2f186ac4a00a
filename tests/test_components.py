"""Components: every tensor counted once, in the part that it serves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from latentcy.measure.components import components


def pipeline(**parts: Any) -> Any:
    return SimpleNamespace(components=parts)


def by_name(**parts: Any) -> dict[str, Any]:
    return {one.name: one for one in components(pipeline(**parts))}


def stable_diffusion() -> dict[str, Any]:
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8
        ).half()
        text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
        return {
            "vae": vae,
            "text_encoder": CLIPTextModel(text),
            "tokenizer": object(),
            "unet": unet,
            "safety_checker": None,
        }


def test_stable_diffusions_parts_have_their_known_sizes() -> None:
    parts = by_name(**stable_diffusion())
    assert list(parts) == ["unet", "vae decoder", "vae encoder", "text_encoder"]
    assert parts["unet"].parameters == pytest.approx(859.52e6, abs=5e3)
    assert parts["text_encoder"].parameters == pytest.approx(123.06e6, abs=5e3)
    both = parts["vae decoder"].parameters + parts["vae encoder"].parameters
    assert both == pytest.approx(83.65e6, abs=5e3)
    assert parts["vae decoder"].parameters > parts["vae encoder"].parameters


def test_bytes_follow_the_dtype() -> None:
    unet = by_name(**stable_diffusion())["unet"]
    assert (unet.bytes, unet.dtypes) == (2 * unet.parameters, ("float16",))


def test_the_tiny_autoencoder_is_split_too() -> None:
    with torch.device("meta"):
        parts = by_name(vae=AutoencoderTiny())
    assert list(parts) == ["vae decoder", "vae encoder"]
    assert sum(one.parameters for one in parts.values()) == pytest.approx(2.45e6, abs=5e3)


def test_a_module_that_parts_share_is_counted_once() -> None:
    shared = nn.Linear(4, 4)
    parts = by_name(unet=nn.Sequential(shared, nn.Linear(2, 2)), extra=nn.Sequential(shared))
    assert parts["unet"].parameters == 26
    assert "extra" not in parts


def test_two_parameters_of_one_memory_are_counted_once() -> None:
    one, other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    other.weight = nn.Parameter(one.weight.detach())
    assert by_name(unet=nn.ModuleList([one, other]))["unet"].bytes == 64


def test_neighbours_in_one_storage_are_counted_each() -> None:
    storage = torch.zeros(8)
    one, other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    one.weight = nn.Parameter(storage[:4].view(2, 2))
    other.weight = nn.Parameter(storage[4:].view(2, 2))
    assert by_name(unet=nn.ModuleList([one, other]))["unet"].parameters == 8


def test_buffers_count_as_bytes_and_not_as_parameters() -> None:
    module = nn.Linear(2, 2, bias=False)
    module.register_buffer("positions", torch.zeros(5, dtype=torch.int64))
    assert by_name(unet=module)["unet"].bytes == 16 + 40
    assert by_name(unet=module)["unet"].parameters == 4


def test_a_compiled_module_is_the_module_that_it_wraps() -> None:
    module = nn.Linear(3, 3)
    plain = by_name(unet=module)["unet"]
    assert by_name(unet=torch.compile(module, backend="eager"))["unet"] == plain


def test_an_unknown_autoencoder_is_counted_whole() -> None:
    assert by_name(vae=nn.Linear(2, 2))["vae"].parameters == 6


def test_mixed_dtypes_are_all_named_the_largest_first() -> None:
    module = nn.ModuleList([nn.Linear(2, 2), nn.Linear(64, 64).to(torch.bfloat16)])
    assert by_name(unet=module)["unet"].dtypes == ("bfloat16", "float32")


def test_a_quantised_weight_has_the_bytes_of_what_it_stores() -> None:
    module = nn.Linear(8, 4, bias=False)
    module.weight = nn.Parameter(Quantised(torch.zeros(4, 8, dtype=torch.int8)), False)
    one = by_name(unet=module)["unet"]
    assert (one.parameters, one.bytes, one.dtypes) == (32, 32 + 16, ("int8", "float32"))


class Quantised(torch.Tensor):
    """Looks like float32 [4, 8]; stores int8 and a float32 scale a row."""

    @staticmethod
    def __new__(cls, data: torch.Tensor, scale: torch.Tensor | None = None) -> Quantised:
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=torch.float32)

    def __init__(self, data: torch.Tensor, scale: torch.Tensor | None = None) -> None:
        self.data_, self.scale = data, torch.zeros(4) if scale is None else scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["data_", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Any], *rest: Any) -> Quantised:
        return Quantised(inner["data_"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return Quantised(args[0].data_, args[0].scale)
        raise NotImplementedError(func)
