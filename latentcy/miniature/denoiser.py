"""The miniature's UNet with its text encoder, trained together, and the distilled UNet.

The distilled UNet follows BK-SDM (Kim et al., 2023, arXiv 2305.15798): one residual-attention
pair fewer in each block, no mid block, and three losses: task, output and feature distillation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from latentcy.miniature.loop import Moment, Plan, fit, half_precision
from latentcy.miniature.pictures import Pictures, to_unit
from latentcy.miniature.vocabulary import POSITIONS, encode

UNET_PLAN = Plan("unet", steps=3000, batch=128, learning_rate=1.2e-3)
DISTILLED_PLAN = Plan("unet-distilled", steps=2000, batch=128, learning_rate=8e-4, decay=0.998)
WIDTH = 128
_CAPTION_DROPOUT = 0.1
_OUTPUT_WEIGHT = 2.0
_FEATURE_WEIGHT = 0.1


@dataclass(frozen=True)
class Examples:
    """What the UNet learns from: scaled latents fp32 [n, 4, 8, 8], token ids int64 [n, 32]."""

    latents: torch.Tensor
    tokens: torch.Tensor
    empty: torch.Tensor


def scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion v1 (its scheduler_config.json)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder, 128 wide, four layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return CLIPTextModel(config)


def new_unet(*, distilled: bool = False) -> UNet2DConditionModel:
    """An untrained UNet for 8x8x4 latents; `distilled` has fewer layers and no mid block."""
    model = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type=None if distilled else "UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1 if distilled else 2,
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        attention_head_dim=4,
    )
    # The eager processor trains twice as fast on a CPU as the fused one's backward pass.
    model.set_attn_processor(AttnProcessor())
    return model


@torch.no_grad()
def examples(
    pictures: Pictures, vae: AutoencoderKL, tokenizer: CLIPTokenizer, device: str
) -> Examples:
    """Encodes all pictures and captions once."""
    latents = [
        vae.encode(to_unit(part).to(device)).latent_dist.mean * vae.config.scaling_factor
        for part in pictures.pixels.split(256)
    ]
    tokens = encode(tokenizer, pictures.captions)
    return Examples(torch.cat(latents).float().cpu().contiguous(), tokens, encode(tokenizer, [""]))


class Painter(nn.Module):
    """UNet and text encoder as one module, so that one optimiser trains both."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, tokens: torch.Tensor):
        states = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, times, states).sample


def train_unet(
    data: Examples,
    tokenizer: CLIPTokenizer,
    *,
    plan: Plan,
    seed: int,
    work: Path,
    device: str,
    say: Callable[[str], None],
) -> Painter:
    """Trains UNet and text encoder together on the noise-prediction loss."""
    torch.manual_seed(seed)
    painter = Painter(new_unet(), new_text_encoder(tokenizer)).to(device)
    schedule = scheduler()

    def loss(module: nn.Module, moment: Moment) -> torch.Tensor:
        noisy, noise, times, tokens = _noised(data, schedule, plan.batch, moment, device)
        with half_precision(device):
            predicted = module(noisy, times, tokens)
        return F.mse_loss(predicted.float(), noise)

    return fit(plan, painter, loss, seed=seed, work=work, say=say)


def train_distilled(
    data: Examples,
    teacher: Painter,
    *,
    plan: Plan,
    seed: int,
    work: Path,
    device: str,
    say: Callable[[str], None],
) -> UNet2DConditionModel:
    """Trains the smaller UNet from the full one's weights, outputs and block features."""
    student = new_unet(distilled=True).to(device)
    inherit(student, teacher.unet)
    schedule = scheduler()
    teacher.eval()
    taught = _Features(teacher.unet)
    # Hooked at the first step, not here, so that the moving average is copied without hooks.
    hooked: list[_Features] = []

    def loss(module: nn.Module, moment: Moment) -> torch.Tensor:
        if not hooked:
            hooked.append(_Features(module))
        noisy, noise, times, tokens = _noised(data, schedule, plan.batch, moment, device)
        with half_precision(device):
            with torch.no_grad():
                states = teacher.text_encoder(tokens).last_hidden_state
                target = teacher.unet(noisy, times, states).sample
            predicted = module(noisy, times, states).sample
        task = F.mse_loss(predicted.float(), noise)
        output = F.mse_loss(predicted.float(), target.float())
        return task + _OUTPUT_WEIGHT * output + _FEATURE_WEIGHT * hooked[0].distance(taught)

    trained = fit(plan, student, loss, seed=seed, work=work, say=say)
    for features in (taught, *hooked):
        features.remove()
    return trained


def inherit(student: nn.Module, teacher: nn.Module) -> int:
    """Copies every teacher weight whose name and shape the student has; returns the count.

    The last residual-attention pair of each up block is the one that is kept, since it alone
    has the skip connection's width (BK-SDM keeps the first pair of a down block).
    """
    own, given = student.state_dict(), teacher.state_dict()
    copied = 0
    for name, weight in own.items():
        for source in (_last_pair(name), name):
            if source in given and given[source].shape == weight.shape:
                own[name] = given[source]
                copied += 1
                break
    student.load_state_dict(own)
    return copied


def _last_pair(name: str) -> str:
    if not name.startswith("up_blocks"):
        return name
    return name.replace("resnets.1.", "resnets.2.").replace("attentions.1.", "attentions.2.")


def _noised(data: Examples, schedule: DDIMScheduler, batch: int, moment: Moment, device: str):
    index = moment.pick(len(data.latents), batch)
    latents = data.latents[index]
    noise = torch.randn(latents.shape, generator=moment.generator)
    times = moment.pick(schedule.config.num_train_timesteps, batch)
    tokens = data.tokens[index].clone()
    dropped = torch.rand(batch, generator=moment.generator) < _CAPTION_DROPOUT
    tokens[dropped] = data.empty
    noisy = schedule.add_noise(latents, noise, times)
    return noisy.to(device), noise.to(device), times.to(device), tokens.to(device)


class _Features:
    """Outputs of a UNet's down and up blocks, collected while it runs."""

    def __init__(self, unet: nn.Module) -> None:
        self.seen: list[torch.Tensor] = []
        blocks: Sequence[nn.Module] = [*unet.down_blocks, *unet.up_blocks]
        self._hooks = [block.register_forward_hook(self._keep) for block in blocks]

    def _keep(self, module: nn.Module, inputs: object, output) -> None:
        self.seen.append(output[0] if isinstance(output, tuple) else output)

    def distance(self, other: "_Features") -> torch.Tensor:
        """Mean over blocks of the squared difference, relative to the other's power."""
        terms = [
            F.mse_loss(mine.float(), theirs.float()) / theirs.float().square().mean()
            for mine, theirs in zip(self.seen, other.seen, strict=True)
        ]
        self.seen.clear()
        other.seen.clear()
        return torch.stack(terms).mean()

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
