"""The tracer names the module where the first non-finite value was born, and only that."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from latentcy.core.errors import LatentcyError
from latentcy.gates.black_images import image_verdict
from latentcy.measure.diagnosis.overflow import provoke_overflow, trace_overflow
from latentcy.measure.images.health import look
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.models.catalog import resolve_model
from latentcy.pipelines.sampler import open_sampler
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import workload
from tiny import build_tiny


def tiny_vae() -> nn.Module:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    ).eval()


class Decodes:
    """As much of a sampler as the tracer needs: a pipeline, and a run that decodes noise."""

    def __init__(self, vae: nn.Module, latents: torch.Tensor) -> None:
        self.pipeline = SimpleNamespace(vae=vae, unet=None, text_encoder=None)
        self.latents = latents

    @torch.no_grad()
    def observe(self, prompts: list[str], seeds: list[int]) -> torch.Tensor:
        latents = self.latents.to(next(self.pipeline.vae.parameters()).dtype)
        return self.pipeline.vae.decode(latents).sample


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def trace(vae: nn.Module, latents: torch.Tensor):
    return trace_overflow(Decodes(vae, latents), ["a prompt"], [0])


def test_the_control_leaves_fp32_output_unchanged_and_breaks_fp16(latents):
    vae = tiny_vae()
    before = Decodes(vae, latents).observe([], [])
    provoke_overflow(vae)
    after = Decodes(vae, latents).observe([], [])
    half = Decodes(vae.half(), latents).observe([], [])
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max()))
    assert not torch.isfinite(half).all()


def test_an_overflow_is_named_exactly(latents):
    vae = tiny_vae()
    name = provoke_overflow(vae)
    seen = []
    conv = vae.get_submodule(name)
    conv.register_forward_pre_hook(lambda module, args: seen.append(float(args[0].abs().max())))

    origin = trace(vae.half(), latents)

    assert name == "decoder.mid_block.resnets.0.conv1"
    assert (origin.component, origin.module, origin.dtype) == ("vae", name, "float16")
    assert (origin.call, origin.born) == (1, "in the module")
    assert origin.magnitude == seen[0]
    assert origin.fp32_magnitude > 65504
    assert f"vae, in {name}, in float16, on call 1 while decoding" in origin.sentence
    assert "float16 ends at 65504" in origin.sentence


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_healthy_autoencoder_has_no_origin(latents, dtype):
    assert trace(tiny_vae().to(dtype), latents) is None


def test_the_control_is_sound_in_fp32(latents):
    vae = tiny_vae()
    provoke_overflow(vae)
    assert trace(vae, latents) is None


def test_hooks_are_gone_afterwards_even_when_generation_raises(latents):
    vae = tiny_vae()
    with pytest.raises(RuntimeError):
        trace(vae, latents[:, :3])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vae.modules())


def test_a_nan_weight_is_named_as_such(latents):
    vae = tiny_vae()
    with torch.no_grad():
        vae.decoder.conv_out.weight[0, 0, 0, 0] = float("nan")
    origin = trace(vae, latents)
    assert (origin.module, origin.born) == ("decoder.conv_out", "in its weights")


def test_non_finite_latents_are_laid_before_the_decoder(latents):
    latents[0, 0, 0, 0] = float("nan")
    origin = trace(tiny_vae(), latents)
    assert (origin.component, origin.born) == ("pipeline", "before the module")
    assert origin.module == "vae.decode"
    assert origin.amount == "NaN in 1 of 256 values, 1 of 4 channels"


def test_an_operation_between_modules_is_laid_to_the_module_that_holds_it():
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Identity(), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x) * 2)

    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.adds = Adds()

    sampler = SimpleNamespace(pipeline=SimpleNamespace(vae=Vae()))
    sampler.observe = lambda prompts, seeds: [
        sampler.pipeline.vae.adds(torch.full((2,), value, dtype=torch.float16))
        for value in (1.0, 40000.0)
    ]
    origin = trace_overflow(sampler, ["a prompt"], [0])
    assert (origin.component, origin.module, origin.call) == ("vae", "adds", 2)
    assert (origin.born, origin.magnitude) == ("between its parts", 40000.0)
    assert "in adds, in float16, on call 2" in origin.sentence
    assert (
        "up to 4e+04, between its parts; the largest magnitude before it: 40000 into vae.adds"
        in (origin.sentence)
    )


def test_a_minus_infinity_in_a_mask_is_no_origin():
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor, *others: torch.Tensor, mask: torch.Tensor):
            return x, *others, -mask

    infinite = torch.tensor([0.0, -torch.inf])
    assert traced_text_encoder(Masked(), torch.ones(2), infinite, mask=-infinite) is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_later_input_is_looked_at_as_well(value):
    class Conditioned(nn.Module):
        def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            return x + 0 * text.nan_to_num(0, 0, 0)

    origin = traced_text_encoder(Conditioned(), torch.ones(2), torch.tensor([0.0, value]))
    assert (origin.component, origin.module) == ("pipeline", "text_encoder")
    assert origin.born == "before the module"


def traced_text_encoder(module: nn.Module, *inputs: torch.Tensor, **named: torch.Tensor):
    sampler = SimpleNamespace(pipeline=SimpleNamespace(text_encoder=module))
    sampler.observe = lambda prompts, seeds: module(*inputs, **named)
    return trace_overflow(sampler, ["a prompt"], [0])


def test_the_control_refuses_an_autoencoder_without_group_norm():
    with pytest.raises(LatentcyError, match="without a convolution"):
        provoke_overflow(nn.Sequential(nn.Conv2d(3, 3, 1)))


def test_an_overflow_in_a_whole_pipeline_fails_the_gate_with_its_origin(tmp_path):
    device = find_device("cpu")
    model, _ = resolve_model(str(build_tiny(tmp_path)), device)
    names = []
    variant = Variant(
        name="overflows",
        changes="one convolution of the autoencoder is scaled beyond fp16",
        dtype="float16",
        prepare=lambda pipeline: names.append(provoke_overflow(pipeline.vae)),
    )
    single = workload("single", height=64, width=64, guidance_scale=3.0)
    sampler = open_sampler(model, variant, device, replace(single, steps=2))

    seen = sampler.observe(["a red square"], [0])
    origin = trace_overflow(sampler, ["a red square"], [0])
    verdict = image_verdict(look(seen.images, seen.latents, seen.decoded), origin)

    assert verdict.status == "failed"
    assert "non-finite decoder output (1)" in verdict.reason
    assert f"born in vae, in {names[0]}, in float16" in verdict.reason
