"""From a model and a variant to a pipeline that runs, with nothing left to chance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from packaging.version import Version

from latentcy.core.errors import LatentcyError, UnsuitableError
from latentcy.pipelines.devices.device import Device, is_out_of_memory
from latentcy.pipelines.families import family_of
from latentcy.pipelines.models.catalog import Model, lacking
from latentcy.pipelines.models.synthetic import build_pipeline
from latentcy.pipelines.models.weights import fetch, read_json, weights_variant
from latentcy.pipelines.own_pipeline import build_own
from latentcy.pipelines.target import Target
from latentcy.pipelines.variants import Variant
from latentcy.pipelines.workload import OWN

# What a saved config of another scheduler class may lack, at the values of Stable Diffusion v1.
_DPM = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "use_karras_sigmas": False,
    "timestep_spacing": "linspace",
}
SCHEDULER_CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "dpm": (DPMSolverMultistepScheduler, _DPM),
    "dpm-karras": (DPMSolverMultistepScheduler, _DPM | {"use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2, "timestep_spacing": "linspace"}),
}
_GROUP_SCHEDULERS = {"precision": "ddim", "distillation": "pndm", "stack": "ddim"}
_DIFFUSERS_DTYPE = "dtype" if Version(diffusers.__version__).release >= (0, 40) else "torch_dtype"
_TRANSFORMERS_DTYPE = (
    "dtype" if Version(transformers.__version__).release >= (4, 56) else "torch_dtype"
)


def load_pipeline(
    model: Model, variant: Variant, device: Device, *, scheduler: str | None = None
) -> Any:
    """The model's pipeline with the variant applied, on the device, ready to be called.

    `scheduler` is a name in SCHEDULERS or OWN; None takes the variant's, or its group's. Only
    safetensors are read and no foreign code is run; the safety checker is left out. A variant with
    a `build` brings its own pipeline, which gets the scheduler, too. The `prepare` hook runs last.
    Raises LatentcyError where weights are missing or damaged, a module has not the dtype asked for,
    a function of the user's raises, or this device or model cannot have the variant; an exhausted
    memory passes through unchanged.
    """
    why_not = variant.refusal(device) or lacking(model, variant)
    if why_not:
        raise LatentcyError(
            found=f"variant {variant.id}, which cannot run here: {why_not}",
            expected="a variant for this device and model",
            do="leave it out",
        )
    dtype = getattr(torch, variant.resolved_dtype(device))
    if variant.build is not None:
        pipeline = build_own(variant, _target(model, variant, device))
    elif model.synthetic is not None:
        with _quiet():
            family = model.family
            pipeline = build_pipeline(
                model.synthetic,
                denoiser=family.distilled if variant.is_distilled else family.denoiser,
                decoder=family.tiny if variant.is_tiny else family.decoder,
                dtype=dtype,
                device=device.torch,
            )
    else:
        pipeline = _from_folders(model, variant, dtype).to(device.torch)
    if variant.build is None:  # what the user's own is in, the gate on dtypes judges
        _check_dtypes(pipeline, dtype)
    named = scheduler or variant.scheduler or _GROUP_SCHEDULERS[variant.group]
    if named != OWN:
        kind, settings = SCHEDULER_CLASSES[named]
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **settings)
    if hasattr(pipeline, "set_progress_bar_config"):  # a wrapper may have none
        pipeline.set_progress_bar_config(disable=True)
    _prepare(pipeline, variant)
    return pipeline


def _target(model: Model, variant: Variant, device: Device) -> Target:
    synthetic = model.synthetic is not None
    return Target(
        device=str(device.torch),
        dtype=variant.resolved_dtype(device),
        model=model.name if synthetic else str(fetch(model.pipeline)),
        height=model.height,
        width=model.width,
    )


def _from_folders(model: Model, variant: Variant, dtype: torch.dtype) -> Any:
    """The pipeline with the variant's parts, each fetched before the libraries are silenced."""
    folder, family = fetch(model.pipeline), model.family
    folders = {name: folder / name for name in family.weighted}
    if variant.is_distilled and model.distilled is not None:
        folders[family.denoiser] = fetch(model.distilled)
    if variant.is_tiny and model.tiny is not None:
        folders[family.decoder] = fetch(model.tiny)
    index = read_json(folder / "model_index.json")
    kinds = {name: _class_of(folders[name], index[name]) for name in folders}
    with _quiet():
        return _loaded(
            folder,
            getattr(diffusers, family.pipeline_class).from_pretrained,
            str(folder),
            **{name: _part(kinds[name], folders[name], dtype) for name in folders},
            **family.left_out,
            **{_DIFFUSERS_DTYPE: dtype},
            use_safetensors=True,
            local_files_only=True,
        )


def _class_of(folder: Path, stated: list[str]) -> Any:
    """A part's class: the one its own config names, else the pipeline's; of two libraries only."""
    library, name = stated
    own = str(read_json(folder / "config.json").get("_class_name") or name)
    home = {"diffusers": diffusers, "transformers": transformers}[library]
    found = getattr(home, own, None)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise LatentcyError(
            found=f"a {own} in {folder}",
            expected=f"a model of {library} {home.__version__}",
            do=f"upgrade {library}, or save the part again",
        )
    return found


def _part(kind: Any, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """One part, every weight of it read from its file.

    Left to themselves the libraries draw a missing tensor at random (transformers) or leave
    it without data (diffusers), and say so in a warning only.
    """
    part, report = _loaded(
        folder,
        kind.from_pretrained,
        str(folder),
        **{
            _DIFFUSERS_DTYPE
            if issubclass(kind, diffusers.ModelMixin)
            else _TRANSFORMERS_DTYPE: dtype
        },
        variant=weights_variant(folder),
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise LatentcyError(
            found=f"{len(missing)} tensor(s) missing in {folder}, such as {missing[0]}",
            expected=f"every weight of its {kind.__name__}",
            do="copy or download it again",
        )
    return part.eval()


def _loaded(folder: Path, load: Any, *arguments: Any, **settings: Any) -> Any:
    """`load(...)`, with whatever it raises told as a folder that does not load."""
    try:
        return load(*arguments, **settings)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:300]
        raise LatentcyError(
            found=f"{folder}, which does not load ({type(error).__name__}: {said})",
            expected="weights and configs that belong together",
            do="save or download it again",
        ) from error


def _check_dtypes(pipeline: Any, dtype: torch.dtype) -> None:
    """Every floating-point parameter has the dtype asked for: a dropped keyword is silent.

    But for those of modules that the library itself keeps in fp32.
    """
    for part in family_of(pipeline).weighted:
        module = getattr(pipeline, part)
        for name, parameter in module.named_parameters():
            allowed = {dtype, torch.float32} if is_kept_in_fp32(module, name) else {dtype}
            if parameter.is_floating_point() and parameter.dtype not in allowed:
                raise LatentcyError(
                    found=f"{part}.{name} loaded as {parameter.dtype}",
                    expected=f"{dtype}, as the variant says",
                    do="report this with the versions of diffusers and transformers",
                )


def is_kept_in_fp32(module: Any, name: str) -> bool:
    """Whether diffusers or transformers keep a tensor of the module in fp32, whatever is asked."""
    kept = getattr(module, "_keep_in_fp32_modules", None) or ()
    return any(one in name.split(".") for one in kept)


def _prepare(pipeline: Any, variant: Variant) -> None:
    if variant.prepare is None:
        return
    try:
        returned = variant.prepare(pipeline)
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, UnsuitableError):
            raise
        raise LatentcyError(
            found=f"prepare of variant {variant.id} raised {type(error).__name__}: {error}",
            expected="a hook that changes the pipeline it is given",
            do="correct the variant's prepare hook",
        ) from error
    if isinstance(returned, diffusers.DiffusionPipeline) and returned is not pipeline:
        raise LatentcyError(
            found=f"prepare of variant {variant.id} returned another pipeline",
            expected="a hook that changes the pipeline in place; what it returns is not used",
            do="change the pipeline that it is given",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice from the libraries while parts are loaded.

    What their warnings would say of missing weights and dtypes is checked here instead.
    """
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [
        (each.get_verbosity(), getattr(each, "is_progress_bar_enabled", lambda: True)())
        for each in libraries  # diffusers 0.30 cannot be asked
    ]
    try:
        for each in libraries:
            each.set_verbosity_error()
            each.disable_progress_bar()
        yield
    finally:
        for each, (verbosity, bars) in zip(libraries, before, strict=True):
            each.set_verbosity(verbosity)
            if bars:
                each.enable_progress_bar()
