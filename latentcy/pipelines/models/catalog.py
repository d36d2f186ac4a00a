"""Which weights: the known models, local folders, hub ids, random ones, and what "auto" means."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from latentcy.core.data import MINIATURE_FOLDER
from latentcy.core.errors import LatentcyError
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.families import STABLE_DIFFUSION, Family
from latentcy.pipelines.families.stable_diffusion import SMALL_GUIDANCE
from latentcy.pipelines.models.hub import HUB_PARTS
from latentcy.pipelines.models.synthetic import Synthetic
from latentcy.pipelines.models.weights import check_pipeline, fetch, read_json
from latentcy.pipelines.models.weights_source import Weights
from latentcy.pipelines.variants import Variant


@dataclass(frozen=True)
class Model:
    """A set of weights, and the size and guidance it is run at."""

    name: str
    source: str  # "embedded" | "hub" | "local" | "synthetic"
    pipeline: Weights  # of synthetic weights their name and digest, nothing to fetch
    distilled: Weights | None
    tiny: Weights | None
    scorer: Weights | None  # the CLIP model that scores its images
    height: int  # pixels
    width: int  # pixels
    guidance_scale: float
    licence: str
    synthetic: Synthetic | None = None  # how random weights are drawn, for all parts
    published_as: str | None = None  # the model of the published tables that has its shapes
    family: Family = STABLE_DIFFUSION  # what its pipeline is made of

    @property
    def unjudged(self) -> str | None:
        """Why this model's images can be held to no CLIP or SSIM, in one clause; None if they can.

        Whether they are black, flat or not finite can be seen of any model.
        """
        return "synthetic weights: scores mean nothing" if self.synthetic else None


MINIATURE_GUIDANCE = SMALL_GUIDANCE


def _from_hub(name: str, subfolder: str | None = None) -> Weights:
    part = HUB_PARTS[name]
    return Weights(part.location, revision=part.revision, subfolder=subfolder)


def _stable_diffusion(name: str) -> Model:
    return Model(
        name=name,
        source="hub",
        pipeline=_from_hub(name),
        distilled=_from_hub("distilled", subfolder=STABLE_DIFFUSION.denoiser),
        tiny=_from_hub("tiny"),
        scorer=_from_hub("scorer"),
        height=512,
        width=512,
        guidance_scale=7.5,
        licence=HUB_PARTS[name].licence,
        published_as=name,
    )


def _random(name: str, synthetic: Synthetic) -> Model:
    """Stable Diffusion's shapes; the scaled-down ones stand for no published figures."""
    label = f"{name}-synthetic{'-small' if synthetic.small else ''}"
    return Model(
        name=label,
        source="synthetic",
        pipeline=Weights(f"synthetic:{name}", revision=f"seed{synthetic.seed}-{synthetic.digest}"),
        distilled=None,
        tiny=None,
        scorer=None,
        height=synthetic.image_size,
        width=synthetic.image_size,
        guidance_scale=7.5,
        licence="none, the weights are random",
        synthetic=synthetic,
        published_as=None if synthetic.small else name,
    )


MINIATURE = Model(
    name="miniature",
    source="embedded",
    pipeline=Weights(str(MINIATURE_FOLDER / "pipeline")),
    distilled=Weights(str(MINIATURE_FOLDER / STABLE_DIFFUSION.distilled)),
    tiny=Weights(str(MINIATURE_FOLDER / STABLE_DIFFUSION.tiny)),
    scorer=Weights(str(MINIATURE_FOLDER / "scorer")),
    height=64,
    width=64,
    guidance_scale=MINIATURE_GUIDANCE,
    licence="Apache-2.0",
)
KNOWN: dict[str, Model] = {
    "miniature": MINIATURE,
    "sd15": _stable_diffusion("sd15"),
    "sd14": _stable_diffusion("sd14"),
    "sd15-synthetic": _random("sd15", Synthetic(seed=15)),
    "sd14-synthetic": _random("sd14", Synthetic(seed=14)),
    "sd15-synthetic-small": _random("sd15", Synthetic(seed=15, small=True)),
    "sd14-synthetic-small": _random("sd14", Synthetic(seed=14, small=True)),
}


def resolve_model(spec: str, device: Device) -> tuple[Model, str]:
    """The model that `spec` names, its pipeline's weights fetched, and a sentence: which, why.

    `spec` is "auto", a name in KNOWN, a folder (a diffusers pipeline, or one that holds
    pipeline/ and perhaps a distilled denoiser, a tiny decoder and scorer/), or a hub id,
    "owner/name" or "owner/name@revision". Raises LatentcyError where it names nothing, or weights
    that cannot be had; only "auto" ever falls back, and its sentence says so.
    """
    if spec == "auto":
        return _auto(device)
    if spec in KNOWN:
        model = KNOWN[spec]
        _fetch_pipeline(model)
        return model, f"Model {spec}: named, from {_origin(model)}."
    if Path(spec).expanduser().is_dir():
        model = _local(Path(spec).expanduser().resolve())
        return model, f"Model {model.name}: the folder {model.pipeline}."
    if Path(spec).expanduser().is_file():
        raise LatentcyError(
            found=f"{spec}, a single file",
            expected="a folder that holds a diffusers pipeline",
            do="convert it once, where diffusers can reach the hub for its configs: "
            f"{STABLE_DIFFUSION.pipeline_class}.from_single_file('{spec}').save_pretrained('FOLDER')",
        )
    looks_local = (
        spec.startswith((".", "~", "/", "\\"))
        or spec.endswith(("/", os.sep))
        or ("/" in spec and Path(spec).parent.is_dir())
    )
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", spec) and not looks_local:
        model = _hub(spec)
        return model, f"Model {model.name}: the hub's {model.pipeline}."
    if looks_local or os.sep in spec or "/" in spec:
        raise LatentcyError(
            found=f"no folder {spec}",
            expected="a folder that holds a diffusers pipeline, or a hub id such as owner/name",
            do="check the path given to --model",
        )
    near = difflib.get_close_matches(spec, ["auto", *KNOWN], n=1, cutoff=0.4)
    raise LatentcyError(
        found=f"a model named {spec!r}",
        expected=f"auto, {', '.join(KNOWN)}, a folder, or a hub id such as owner/name",
        do=f"did you mean {near[0]!r}?" if near else "use one of those",
    )


def lacking(model: Model, variant: Variant) -> str | None:
    """Why this model has not the parts that the variant needs, in one clause; None if it has."""
    if model.synthetic is not None:
        return None
    if variant.is_distilled and model.distilled is None:
        return f"model {model.name} has no distilled UNet"
    if variant.is_tiny and model.tiny is None:
        return f"model {model.name} has no tiny autoencoder"
    return None


def _auto(device: Device) -> tuple[Model, str]:
    if device.kind != "cuda":
        _fetch_pipeline(MINIATURE)
        why = f"auto takes it where there is no CUDA device ({device.name})"
        return MINIATURE, f"Model miniature: {why}."
    sd15 = KNOWN["sd15"]
    try:
        check_pipeline(fetch(sd15.pipeline, download=False))
    except LatentcyError as error:
        _fetch_pipeline(MINIATURE)
        why = f"auto cannot use sd15 as it is cached here ({error.found})"
        return MINIATURE, f"Model miniature: {why}; --model sd15 downloads them."
    return sd15, f"Model sd15: auto takes it on CUDA ({device.name}), its weights are here."


def _fetch_pipeline(model: Model) -> None:
    """Have the pipeline's weights here, so that a model that cannot be had fails at once."""
    if model.synthetic is not None:
        return
    if model.source == "embedded" and not Path(model.pipeline.location).is_dir():
        raise LatentcyError(
            found=f"no folder {model.pipeline.location}",
            expected="the embedded miniature's weights",
            do="install latentcy again, or restore fixtures/miniature in the clone",
        )
    check_pipeline(fetch(model.pipeline))


def _local(root: Path) -> Model:
    nested = (root / "pipeline").is_dir() and not (root / "model_index.json").is_file()
    folder = root / "pipeline" if nested else root
    family = check_pipeline(folder)

    def beside(name: str) -> Weights | None:
        return Weights(str(root / name)) if nested and (root / name).is_dir() else None

    size, guidance = _size_and_guidance(folder, family)
    return Model(
        family=family,
        name=re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-") or "local",
        source="local",
        pipeline=Weights(str(folder)),
        distilled=beside(family.distilled),
        tiny=beside(family.tiny),
        scorer=beside("scorer"),
        height=size,
        width=size,
        guidance_scale=guidance,
        licence="unknown",
    )


def _hub(spec: str) -> Model:
    location, _, revision = spec.partition("@")
    weights = Weights(location, revision=revision or None)
    folder = fetch(weights)
    family = check_pipeline(folder)
    size, guidance = _size_and_guidance(folder, family)
    return Model(
        family=family,
        name=re.sub(r"[^a-z0-9]+", "-", spec.lower()).strip("-"),
        source="hub",
        pipeline=weights,
        distilled=None,
        tiny=None,
        scorer=_from_hub("scorer"),
        height=size,
        width=size,
        guidance_scale=guidance,
        licence="unknown",
    )


def _size_and_guidance(pipeline: Path, family: Family) -> tuple[int, float]:
    """The image size in pixels that the denoiser was made for, and the guidance for that size."""
    denoiser, decoder = (
        read_json(pipeline / part / "config.json") for part in (family.denoiser, family.decoder)
    )
    size = family.image_size(denoiser, decoder)
    if size is None:
        raise LatentcyError(
            found=f"no image size in the configs of {family.denoiser} and {family.decoder}"
            f" of {pipeline}",
            expected="a whole sample_size and a list of block_out_channels",
            do="save the pipeline again with diffusers",
        )
    return size, family.guidance_scale(size)


def _origin(model: Model) -> str:
    if model.synthetic is not None:
        return f"random weights ({model.pipeline.revision}), for latency and memory only"
    return "this repository" if model.source == "embedded" else f"the hub's {model.pipeline}"
