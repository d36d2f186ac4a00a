"""The miniature's scorer: a CLIP model of its own, trained apart from the pipeline.

It shares no weights with the pipeline's text encoder, so that it is no accomplice. Hard
negatives (the same scene with one attribute of its caption changed) teach it colour, shape,
place and side; black, plain and noisy pictures teach it that nothing is described by nothing.
"""

import random
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from latentcy.miniature.loop import Moment, Plan, fit, half_precision
from latentcy.miniature.pictures import Pictures
from latentcy.miniature.vocabulary import POSITIONS, encode
from latentcy.miniature.world import change_one, held_out

SCORER_PLAN = Plan("scorer", steps=5400, batch=96, learning_rate=1e-3, decay=0.998)
ATTRIBUTES = ("colour", "shape", "place", "side")
IMAGE_MEAN = (0.5, 0.5, 0.5)
IMAGE_STD = (0.5, 0.5, 0.5)
_EMPTY_PICTURES = 16


def new_scorer(tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP model for 64x64 pictures: patch 8, 128 wide, projection 64."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)
    config._attn_implementation = "eager"
    return CLIPModel(config)


def hard_captions(pictures: Pictures, seed: int) -> list[list[str]]:
    """For each picture four captions with one attribute changed; never a held-out caption.

    A caption that does not state an attribute has a further colour change in its place, and
    its own caption (which the loss masks) where none can be had.
    """
    rng = random.Random(seed)
    rows = []
    for scene in pictures.scenes:
        row = []
        for attribute in ATTRIBUTES:
            changed = change_one(scene, attribute, rng) or change_one(scene, "place", rng)
            wrong = changed.caption if changed else scene.caption
            row.append(scene.caption if held_out(wrong) else wrong)
        rows.append(row)
    return rows


def train_scorer(
    pictures: Pictures,
    tokenizer: CLIPTokenizer,
    *,
    plan: Plan,
    seed: int,
    work: Path,
    device: str,
    say: Callable[[str], None],
) -> CLIPModel:
    """Trains the scorer by contrast within the batch and against the hard captions."""
    torch.manual_seed(seed)
    model = new_scorer(tokenizer).to(device)
    hard = hard_captions(pictures, seed)
    bare = [scene.caption for scene in pictures.scenes]
    tokens = encode(tokenizer, pictures.captions)
    hard_tokens = torch.stack(
        [encode(tokenizer, [row[k] for row in hard]) for k in range(len(ATTRIBUTES))], dim=1
    )
    # Pooled at the end token under a causal mask: trailing padding changes nothing but time.
    longest = int((tokens != tokenizer.pad_token_id).sum(dim=1).max()) + 1
    tokens, hard_tokens = tokens[:, :longest], hard_tokens[..., :longest]
    hard_same = torch.tensor([[c == own for c in row] for row, own in zip(hard, bare, strict=True)])
    same_as = _numbers(bare)

    def loss(module: nn.Module, moment: Moment) -> torch.Tensor:
        index = moment.pick(len(pictures), plan.batch)
        images = _augment(pictures.pixels[index].float() / 255.0, moment.generator)
        images = torch.cat([images, _empty_pictures(moment.generator)])
        row = torch.arange(plan.batch)[:, None]
        asked = _asked(plan.batch, moment.generator)
        texts = torch.cat([tokens[index], hard_tokens[index][row, asked].flatten(0, 1)])
        with half_precision(device):
            output = module(input_ids=texts.to(device), pixel_values=normalise(images).to(device))
        seen = F.normalize(output.image_embeds.float(), dim=-1)
        said = F.normalize(output.text_embeds.float(), dim=-1)
        scale = module.logit_scale.exp().clamp(max=60.0)
        duplicate = same_as[index][:, None] == same_as[index][None, :]
        return _contrast(
            seen, said, scale, duplicate.to(device), hard_same[index][row, asked].to(device)
        )

    trained = fit(plan, model, loss, seed=seed, work=work, say=say)
    return trained


def _asked(batch: int, generator: torch.Generator) -> torch.Tensor:
    """Which of the hard captions stand against each picture, int64 [batch, 3].

    Shape and side are the slow ones to learn and always stand; colour and place take turns.
    """
    easy = torch.randint(0, 2, (batch, 1), generator=generator) * 2
    return torch.cat([easy, torch.ones_like(easy), torch.full_like(easy, 3)], dim=1)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Pictures in 0..1 as the scorer's processor hands them over, -1..1."""
    return images * 2.0 - 1.0


def _contrast(
    seen: torch.Tensor,
    said: torch.Tensor,
    scale: torch.Tensor,
    duplicate: torch.Tensor,
    hard_same: torch.Tensor,
) -> torch.Tensor:
    """InfoNCE both ways; hard captions stand against their own picture, empty pictures
    against every caption; equal captions are never each other's negatives."""
    count = len(duplicate)
    mask = duplicate & ~torch.eye(count, dtype=torch.bool, device=duplicate.device)
    own = scale * seen[:count] @ said[:count].T
    own = own.masked_fill(mask, -1e4)
    hard_said = said[count:].unflatten(0, (count, -1))
    hard = scale * torch.einsum("nd,nkd->nk", seen[:count], hard_said)
    hard = hard.masked_fill(hard_same, -1e4)
    empty = scale * said[:count] @ seen[count:].T
    target = torch.arange(count, device=own.device)
    by_picture = F.cross_entropy(torch.cat([own, hard], dim=1), target)
    by_caption = F.cross_entropy(torch.cat([own.T, empty], dim=1), target)
    return (by_picture + by_caption) / 2


def _numbers(captions: list[str]) -> torch.Tensor:
    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(caption, len(known)) for caption in captions])


def _augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the pictures softened or noisy, as generated ones are."""
    count = len(images) // 4
    images = images.clone()
    small = F.interpolate(images[:count], scale_factor=0.5, mode="area")
    images[:count] = F.interpolate(small, size=images.shape[-1], mode="bilinear")
    noise = torch.randn(images[count : 2 * count].shape, generator=generator)
    images[count : 2 * count] = (images[count : 2 * count] + 0.04 * noise).clamp(0, 1)
    return images


def _empty_pictures(generator: torch.Generator) -> torch.Tensor:
    """Black, plain-coloured, noisy and half-tone pictures, fp32 [16, 3, 64, 64] in 0..1."""
    plain = torch.rand(_EMPTY_PICTURES, 3, 1, 1, generator=generator).expand(-1, 3, 64, 64)
    pictures = plain.clone()
    pictures[:3] = 0.0
    pictures[3] = 1.0
    pictures[4] = 0.5
    noisy = torch.rand(5, 3, 64, 64, generator=generator)
    pictures[5:10] = noisy
    blobs = F.interpolate(torch.rand(3, 3, 8, 8, generator=generator), size=64, mode="bilinear")
    pictures[10:13] = blobs
    return pictures
