"""Retrains the miniature: `python -m latentcy.miniature.train`.

Stages run in order, each from the seed; a finished stage is kept in the work folder and not
trained again. The weights are exported in fp16 as diffusers and transformers folders.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from latentcy.core.errors import LatentcyError
from latentcy.miniature import autoencoder, denoiser, scorer
from latentcy.miniature.export import export
from latentcy.miniature.loop import Plan
from latentcy.miniature.pictures import Pictures, training_pictures
from latentcy.miniature.vocabulary import write_tokenizer

PICTURES = 40_000


@dataclass(frozen=True)
class Studio:
    """Where and how training happens; `scale` shortens every stage, to try things out."""

    work: Path
    seed: int = 1
    device: str = "cpu"
    scale: float = 1.0
    count: int = PICTURES
    say: Callable[[str], None] = print

    @property
    def pictures(self) -> Pictures:
        return training_pictures(self.count, self.work)

    @property
    def tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self.made("tokenizer"))

    def how(self, plan: Plan, offset: int) -> dict:
        """The keyword arguments that every stage's training takes."""
        steps = max(1, round(plan.steps * self.scale))
        return {
            "plan": replace(plan, steps=steps, warm_up=min(plan.warm_up, steps)),
            "seed": self.seed + offset,
            "work": self.work,
            "device": self.device,
            "say": self.say,
        }

    def folder(self, part: str) -> Path:
        return self.work / "parts" / part

    def made(self, part: str) -> Path:
        """The folder of a part that an earlier stage made; raises LatentcyError where it is not."""
        folder = self.folder(part)
        if not folder.exists():
            raise LatentcyError(
                found=f"no {part} in {self.work}",
                expected=f"the {part} that an earlier stage makes",
                do="run the stages before this one, or all of them by leaving --stages out",
            )
        return folder


def train_tokenizer(studio: Studio) -> None:
    write_tokenizer(studio.pictures.captions, studio.folder("tokenizer"))


def train_vae(studio: Studio) -> None:
    how = studio.how(autoencoder.VAE_PLAN, 0)
    model = autoencoder.train_autoencoder(studio.pictures, **how)
    model.save_pretrained(studio.folder("vae"))


def train_vae_decoder(studio: Studio) -> None:
    how = studio.how(autoencoder.DECODER_PLAN, 4)
    model = AutoencoderKL.from_pretrained(studio.made("vae"))
    sharpened = autoencoder.train_decoder(studio.pictures, model, **how)
    sharpened.save_pretrained(studio.folder("vae-decoder"))


def train_vae_tiny(studio: Studio) -> None:
    how = studio.how(autoencoder.TINY_PLAN, 5)
    teacher = AutoencoderKL.from_pretrained(studio.made("vae-decoder")).to(studio.device)
    tiny = autoencoder.train_tiny(studio.pictures, teacher.eval(), **how)
    tiny.save_pretrained(studio.folder("vae-tiny"))


def train_scorer(studio: Studio) -> None:
    how = studio.how(scorer.SCORER_PLAN, 3)
    model = scorer.train_scorer(studio.pictures, studio.tokenizer, **how)
    model.save_pretrained(studio.folder("scorer"))


def train_unet(studio: Studio) -> None:
    how = studio.how(denoiser.UNET_PLAN, 1)
    painter = denoiser.train_unet(_examples(studio), studio.tokenizer, **how)
    painter.unet.save_pretrained(studio.folder("unet"))
    painter.text_encoder.save_pretrained(studio.folder("text_encoder"))


def train_unet_distilled(studio: Studio) -> None:
    how = studio.how(denoiser.DISTILLED_PLAN, 2)
    unet = UNet2DConditionModel.from_pretrained(studio.made("unet"))
    text_encoder = CLIPTextModel.from_pretrained(studio.made("text_encoder"))
    teacher = denoiser.Painter(unet, text_encoder).to(studio.device).eval()
    student = denoiser.train_distilled(_examples(studio), teacher, **how)
    student.save_pretrained(studio.folder("unet-distilled"))


STAGES: dict[str, Callable[[Studio], None]] = {
    "tokenizer": train_tokenizer,
    "vae": train_vae,
    "vae-decoder": train_vae_decoder,
    "vae-tiny": train_vae_tiny,
    "scorer": train_scorer,
    "unet": train_unet,
    "unet-distilled": train_unet_distilled,
}


def export_parts(studio: Studio, out: Path) -> int:
    """Writes the trained parts as fp16 safetensors folders under `out`; returns their bytes."""
    return export(
        out,
        tokenizer=studio.tokenizer,
        vae=AutoencoderKL.from_pretrained(studio.made("vae-decoder")),
        tiny=AutoencoderTiny.from_pretrained(studio.made("vae-tiny")),
        unet=UNet2DConditionModel.from_pretrained(studio.made("unet")),
        distilled=UNet2DConditionModel.from_pretrained(studio.made("unet-distilled")),
        text_encoder=CLIPTextModel.from_pretrained(studio.made("text_encoder")),
        scorer=CLIPModel.from_pretrained(studio.made("scorer")),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", flush=True)

    studio = Studio(
        work=options.work,
        seed=options.seed,
        device=options.device,
        scale=options.scale,
        count=options.pictures,
        say=say,
    )
    try:
        options.work.mkdir(parents=True, exist_ok=True)
        for stage in options.stages or STAGES:
            say(f"stage {stage}")
            STAGES[stage](studio)
        if options.out and not options.stages:
            size = export_parts(studio, options.out)
            say(f"weights: {size / 1e6:.1f} MB in {options.out}")
    except LatentcyError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command resumes from the last checkpoint")
        return 130
    return 0


def _examples(studio: Studio) -> denoiser.Examples:
    """The encoded pictures, kept in the work folder for as long as the autoencoder is the same."""
    weights = studio.made("vae") / "diffusion_pytorch_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    cache = studio.work / f"examples-{studio.count}-{digest}.safetensors"
    if not cache.exists():
        studio.say("encoding the pictures")
        vae = AutoencoderKL.from_pretrained(studio.made("vae")).to(studio.device)
        made = denoiser.examples(studio.pictures, vae, studio.tokenizer, studio.device)
        save_file({name: part.contiguous() for name, part in asdict(made).items()}, cache)
    return denoiser.Examples(**load_file(cache))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m latentcy.miniature.train", description=__doc__)
    parser.add_argument(
        "--stages", nargs="+", choices=tuple(STAGES), help="train these only (default: all)"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("miniature-work"),
        help="folder for pictures and checkpoints (default: miniature-work)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("miniature-work") / "export",
        help="folder for the finished weights (default: miniature-work/export)",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="torch device (default: cuda where there is one, else cpu)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of each stage's steps (default: 1.0)"
    )
    parser.add_argument(
        "--pictures", type=int, default=PICTURES, help=f"training pictures (default: {PICTURES})"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
