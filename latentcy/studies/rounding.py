"""How far rounding takes the images of healthy cases: what the bounds of `differing` come from.

`OMP_NUM_THREADS=1 python -m latentcy.studies.rounding` prints one line for each built-in
variant that can run: the largest difference of a pixel and the largest mean difference of an image
(0..1) between a batch of 3 and single images, with sliced attention and with sliced decoding; then
the least mean difference of two seeds and of two prompts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from latentcy.measure.short_generations import STEPS, brief, draw, draw_singly
from latentcy.pipelines.devices.device import find_device
from latentcy.pipelines.families import decoder_of, denoiser_of
from latentcy.pipelines.models.catalog import Model, lacking, resolve_model
from latentcy.pipelines.prompts import prompt_set
from latentcy.pipelines.sampler import Sampler, open_sampler
from latentcy.pipelines.variants import BUILTIN, GROUP_WORKLOADS, Variant
from latentcy.pipelines.workload import workload

BATCH = 3
HEADER = (
    "variant                          batch of 3       sliced attention sliced decoding  "
    "seeds  prompts"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on the model that the arguments name, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="miniature", help="as pytest's --model")
    parser.add_argument("--device", default="auto", help="as pytest's --device")
    parser.add_argument("--images", type=int, default=24, help="images a variant (24)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of the sampler ({STEPS})")
    chosen = parser.parse_args(arguments)
    device = find_device(chosen.device)
    model, _ = resolve_model(chosen.model, device)
    print(HEADER)
    for variant in BUILTIN:
        if variant.refusal(device) or lacking(model, variant):
            continue
        sampler = _opened(model, variant, chosen.device)
        with brief(sampler, chosen.steps) as short:
            print(f"{variant.id:<32} {_row(short, chosen.images)}", flush=True)
        sampler.close()


def _opened(model: Model, variant: Variant, device: str) -> Sampler:
    work = workload(
        GROUP_WORKLOADS[variant.group],
        height=model.height,
        width=model.width,
        guidance_scale=model.guidance_scale,
        steps=variant.steps,
        scheduler=variant.scheduler,
    )
    return open_sampler(model, variant, find_device(device), work)


def _row(sampler: Sampler, images: int) -> str:
    texts, seeds = prompt_set(sampler.model, None, images), range(images)
    singly = draw_singly(sampler, texts, seeds)
    together = _in_batches(sampler, texts, seeds)
    pipeline = sampler.pipeline
    processors = dict(denoiser_of(pipeline).attn_processors)
    pipeline.enable_attention_slicing()
    attention = draw_singly(sampler, texts, seeds)
    denoiser_of(pipeline).set_attn_processor(processors)
    decoder_of(pipeline).enable_slicing()
    decoding = _in_batches(sampler, texts, seeds)
    decoder_of(pipeline).disable_slicing()
    pairs = ((together, singly), (attention, singly), (decoding, together))
    apart = [f"{_largest(one, other):<16}" for one, other in pairs]
    other_seeds = _least(draw_singly(sampler, [texts[0]] * len(texts), seeds))
    other_prompts = _least(draw_singly(sampler, texts, [seeds[0]] * len(texts)))
    return " ".join((*apart, f"{other_seeds:.2g}", f"{other_prompts:.2g}"))


def _in_batches(sampler: Sampler, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    parts: Iterator[slice] = (slice(at, at + BATCH) for at in range(0, len(texts), BATCH))
    return np.concatenate([draw(sampler, texts[part], seeds[part]) for part in parts])


def _largest(images: np.ndarray, others: np.ndarray) -> str:
    apart = np.abs(images - others)
    return f"{apart.max():.2g} {apart.mean(axis=(1, 2, 3)).max():.2g}"


def _least(images: np.ndarray) -> float:
    """The least mean difference of two images that stand next to each other."""
    return float(np.abs(np.diff(images, axis=0)).mean(axis=(1, 2, 3)).min())


if __name__ == "__main__":
    main()
