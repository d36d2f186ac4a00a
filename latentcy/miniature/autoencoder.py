"""The miniature's autoencoder (f = 8, four latent channels) and the tiny one distilled from it."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from latentcy.miniature.loop import Moment, Plan, fit, half_precision
from latentcy.miniature.pictures import Pictures, to_unit

VAE_PLAN = Plan("vae", steps=4500, batch=16, learning_rate=1e-3)
DECODER_PLAN = Plan("vae-decoder", steps=3000, batch=16, learning_rate=8e-4)
TINY_PLAN = Plan("vae-tiny", steps=4200, batch=16, learning_rate=1e-3)
_KL_WEIGHT = 5e-4
_CROPS_UNTIL = 0.35
_SPREAD = 0.05  # standard deviation of noise on unit-variance latents while decoders train


def new_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder, 64x64 RGB to 8x8x4 latents."""
    model = AutoencoderKL(
        sample_size=64,
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        scaling_factor=1.0,
    )
    # The eager processor trains twice as fast on a CPU as the fused one's backward pass.
    model.set_attn_processor(AttnProcessor())
    return model


def train_autoencoder(
    pictures: Pictures,
    *,
    plan: Plan,
    seed: int,
    work: Path,
    device: str,
    say: Callable[[str], None],
) -> AutoencoderKL:
    """Trains the autoencoder and sets its scaling factor to 1 / standard deviation of latents."""
    torch.manual_seed(seed)
    model = new_autoencoder().to(device, memory_format=torch.channels_last)

    def loss(module: nn.Module, moment: Moment) -> torch.Tensor:
        index = moment.pick(len(pictures), plan.batch)
        images = to_unit(pictures.pixels[index]).to(device)
        if moment.progress < _CROPS_UNTIL:
            images = _random_crop(images, 32, moment)
        with half_precision(device):
            posterior = module.encode(images).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=moment.generator).to(device)
            decoded = module.decode(posterior.mean + posterior.std * noise).sample
        return _picture_loss(decoded.float(), images) + _KL_WEIGHT * _kl(posterior)

    trained = fit(plan, model, loss, seed=seed, work=work, say=say)
    trained = trained.to(memory_format=torch.contiguous_format)
    trained.register_to_config(scaling_factor=round(1.0 / _latent_std(trained, pictures), 4))
    say(f"{plan.stage}: {psnr(trained, pictures):.1f} dB, scaling {trained.config.scaling_factor}")
    return trained


def train_decoder(
    pictures: Pictures,
    model: AutoencoderKL,
    *,
    plan: Plan,
    seed: int,
    work: Path,
    device: str,
    say: Callable[[str], None],
) -> AutoencoderKL:
    """Sharpens the decoder alone, so that latents, and the UNet trained on them, stay valid."""
    model = model.to(device, memory_format=torch.channels_last)
    model.set_attn_processor(AttnProcessor())
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)

    def loss(module: nn.Module, moment: Moment) -> torch.Tensor:
        index = moment.pick(len(pictures), plan.batch)
        images = to_unit(pictures.pixels[index]).to(device)
        with half_precision(device):
            with torch.no_grad():
                latents = module.encode(images).latent_dist.mean
            noise = torch.randn(latents.shape, generator=moment.generator).to(device)
            spread = _SPREAD / model.config.scaling_factor * noise
            decoded = module.decode(latents + spread).sample
        return _picture_loss(decoded.float(), images)

    trained = fit(plan, model, loss, seed=seed, work=work, say=say)
    trained = trained.to(memory_format=torch.contiguous_format)
    say(f"{plan.stage}: {psnr(trained, pictures):.1f} dB")
    return trained


def train_tiny(
    pictures: Pictures,
    teacher: AutoencoderKL,
    *,
    plan: Plan,
    seed: int,
    work: Path,
    device: str,
    say: Callable[[str], None],
) -> AutoencoderTiny:
    """Distils the autoencoder: the same latents (scaled) in, the same pictures out."""
    torch.manual_seed(seed)
    model = AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(2, 2, 2, 1),
        latent_channels=4,
    ).to(device, memory_format=torch.channels_last)
    teacher = teacher.to(memory_format=torch.channels_last)
    teacher.set_attn_processor(AttnProcessor())
    scaling = teacher.config.scaling_factor

    def loss(module: nn.Module, moment: Moment) -> torch.Tensor:
        index = moment.pick(len(pictures), plan.batch)
        images = to_unit(pictures.pixels[index]).to(device)
        with half_precision(device):
            with torch.no_grad():
                latents = teacher.encode(images).latent_dist.mean * scaling
                noise = torch.randn(latents.shape, generator=moment.generator).to(device)
                latents = latents + _SPREAD * noise
                target = teacher.decode(latents / scaling).sample
            decoded = module.decode(latents).sample
            encoded = module.encode(images).latents
        lost = _picture_loss(decoded.float(), target.float())
        return lost + F.l1_loss(encoded.float(), latents.float())

    trained = fit(plan, model, loss, seed=seed, work=work, say=say)
    trained = trained.to(memory_format=torch.contiguous_format)
    trained.register_to_config(scaling_factor=1.0)
    return trained


@torch.no_grad()
def psnr(model: AutoencoderKL, pictures: Pictures, count: int = 128) -> float:
    """Peak signal-to-noise ratio in decibels of `count` reconstructions, peak = full range."""
    images = to_unit(pictures.pixels[:count]).to(model.device)
    error = F.mse_loss(model(images).sample.clamp(-1, 1), images)
    return float(10 * torch.log10(4.0 / error))


@torch.no_grad()
def _latent_std(model: AutoencoderKL, pictures: Pictures, count: int = 512) -> float:
    images = to_unit(pictures.pixels[:count]).to(model.device)
    return float(model.encode(images).latent_dist.mean.std())


def _picture_loss(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    difference = decoded - target
    edges = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    return difference.abs().mean() + difference.square().mean() + 0.5 * edges


def _kl(posterior) -> torch.Tensor:
    """Kullback-Leibler divergence to the unit normal, mean over latent elements."""
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()


def _random_crop(images: torch.Tensor, size: int, moment: Moment) -> torch.Tensor:
    limit = images.shape[-1] - size
    top, left = torch.randint(0, limit + 1, (2,), generator=moment.generator).tolist()
    return images[..., top : top + size, left : left + size]
