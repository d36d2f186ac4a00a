"""Where weights lie, and getting them: local folders or hub repositories, safetensors only."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from latentcy.core.errors import LatentcyError
from latentcy.pipelines.families import FAMILIES, Family, family_named
from latentcy.pipelines.models.hub_errors import hub_error
from latentcy.pipelines.models.weights_source import Weights

_INDEX = "model_index.json"
_WEIGHT_FILES = ("diffusion_pytorch_model", "model")
# Of two copies of the same weights the plain one is read, and this one where it is alone.
VARIANT = "fp16"
# Exactly these names, so that neither pickles nor fp16 and non-EMA copies are downloaded.
_WANTED = ("*.json", "*.txt", "*model.safetensors", "*model-?????-of-?????.safetensors")
_WANTED_VARIANT = (f"*model.{VARIANT}.safetensors", f"*model.{VARIANT}-?????-of-?????.safetensors")
_UNWANTED = ("safety_checker/*", "feature_extractor/*", "image_encoder/*")


def fetch(weights: Weights, *, download: bool = True) -> Path:
    """The local folder that holds these weights, checked; downloaded where it is not here yet.

    With `download` False only what is here already will do. A folder with a model_index.json is
    checked as a pipeline, any other as a single part.
    Raises LatentcyError where the weights cannot be had, are incomplete or damaged, or are
    pickles only.
    """
    local = Path(weights.location).expanduser()
    if local.is_absolute() and not local.is_dir():
        raise LatentcyError(
            found=f"no folder {local}",
            expected="the weights that the model names",
            do="copy or restore the missing folder",
        )
    if local.is_dir():
        return _checked(local, weights)
    root = _download(weights, not download)
    if _lacks_plain_weights(root / (weights.subfolder or "")):
        root = _download(weights, not download, _WANTED_VARIANT)
    try:
        return _checked(root, weights)
    except LatentcyError as error:
        raise LatentcyError(
            found=f"{error.found}, from the hub's {weights}",
            expected=error.expected,
            do="delete that folder and run again; "
            "where it stays so, the repository lacks it: name another revision or model",
        ) from error


def check_pipeline(folder: Path) -> Family:
    """The family of the pipeline in `folder`, found whole and undamaged.

    Raises LatentcyError where it is not, or of no family that is known.
    """
    family = _stated_family(folder)
    index_file = folder / _INDEX
    index = read_json(index_file)
    for part in family.parts:
        entry = index.get(part)
        if not (isinstance(entry, list) and len(entry) == 2 and all(entry)):
            raise LatentcyError(
                found=f"no {part} named in {index_file}",
                expected=f"a pipeline with {', '.join(family.parts)}",
                do="save the pipeline again with all its parts",
            )
        if entry[0] not in ("diffusers", "transformers"):
            raise LatentcyError(
                found=f"{part} of {folder} made by code of its own ({entry[0]})",
                expected="a class of diffusers or transformers; other code is never run",
                do="use a pipeline without custom code",
            )
        if not (folder / part).is_dir():
            raise LatentcyError(
                found=f"no folder {part} in {folder}",
                expected=f"a pipeline with {', '.join(family.parts)}",
                do="copy or download the missing folder",
            )
    for part in family.weighted:
        check_part(folder / part)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if not scheduler.is_file():
        raise _missing(scheduler)
    return family


def _stated_family(folder: Path) -> Family:
    """The family of the class that a folder's model_index.json names. Raises LatentcyError."""
    known = " or ".join(one.pipeline_class for one in FAMILIES)
    index_file = folder / _INDEX
    if not index_file.is_file():
        raise LatentcyError(
            found=f"no {_INDEX} in {folder}",
            expected=f"a folder saved by a diffusers {known}",
            do="give the folder that holds model_index.json, or one with a pipeline/ folder in it",
        )
    name = read_json(index_file).get("_class_name")
    family = family_named(str(name))
    if family is None:
        raise LatentcyError(
            found=f"a {name} in {folder}",
            expected=f"a {known}",
            do="use Stable Diffusion v1 weights, or ones of the same architecture",
        )
    return family


def check_part(folder: Path) -> None:
    """Raise LatentcyError unless `folder` has a config and safetensors weights, each whole.

    Every file's header is read and its length compared with it, which finds truncation and a
    damaged header; a value changed in the middle is not seen.
    """
    if not (folder / "config.json").is_file():
        raise _missing(folder / "config.json")
    read_json(folder / "config.json")
    for file in _weight_files(folder):
        if not file.is_file():
            raise _missing(file)
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise LatentcyError(
                found=f"{file}, which is damaged or truncated ({error})",
                expected="a whole safetensors file",
                do="copy or download it again",
            ) from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; LatentcyError where there is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        problem = "" if isinstance(value, dict) else "it holds no object"
    except OSError as error:
        problem = str(error.strerror)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise LatentcyError(
            found=f"{file}, which cannot be read ({problem})",
            expected="a JSON object",
            do="copy or download it again",
        )
    return value


def _checked(root: Path, weights: Weights) -> Path:
    """The weights' folder in `root`, found whole as a pipeline or as one part."""
    folder = root / weights.subfolder if weights.subfolder else root
    if (folder / _INDEX).exists():
        check_pipeline(folder)
    else:
        check_part(folder)
    return folder


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up one part, whole or in shards."""
    for variant in (None, VARIANT):
        if found := _files_of(folder, variant):
            return found
    pickles = sorted(each.name for each in (*folder.glob("*.bin"), *folder.glob("*.ckpt")))
    raise LatentcyError(
        found=f"only pickled weights in {folder}: {', '.join(pickles)}"
        if pickles
        else f"no safetensors weights in {folder}",
        expected=" or ".join(f"{name}.safetensors" for name in _WEIGHT_FILES)
        + f", or their {VARIANT} copies; pickles are never loaded",
        do="save it again with safe_serialization=True" if pickles else "copy or download them",
    )


def weights_variant(folder: Path) -> str | None:
    """ "fp16" where a part has no plain weights but copies in that dtype; else None."""
    return VARIANT if not _files_of(folder, None) and _files_of(folder, VARIANT) else None


def _files_of(folder: Path, variant: str | None) -> list[Path]:
    """The plain safetensors files of a part, or those of a variant; none where there are none."""
    ending = f".{variant}" if variant else ""
    for name in _WEIGHT_FILES:
        if (folder / f"{name}{ending}.safetensors").exists():
            return [folder / f"{name}{ending}.safetensors"]
        index = folder / f"{name}.safetensors.index{ending}.json"
        if index.is_file():
            shards = read_json(index).get("weight_map", {})
            return [folder / shard for shard in sorted(set(shards.values()))]
    return []


def _lacks_plain_weights(folder: Path) -> bool:
    """Whether a part that was downloaded has a config and no plain weights."""
    parts = [folder]
    if (folder / _INDEX).is_file():
        parts = [folder / part for part in _stated_family(folder).weighted]
    return any((one / "config.json").is_file() and not _files_of(one, None) for one in parts)


def _missing(file: Path) -> LatentcyError:
    return LatentcyError(
        found=f"no {file.name} in {file.parent}",
        expected="every file that the pipeline names",
        do="copy or download the missing file",
    )


def _download(weights: Weights, cached_only: bool = False, further: tuple[str, ...] = ()) -> Path:
    """The hub repository's snapshot; from the local cache where the hub cannot be reached.

    Of a pipeline its index comes first, so that one of no family that is known is refused before
    gigabytes are downloaded.
    """
    if not weights.subfolder:
        index = _snapshot(weights, cached_only, (_INDEX,))
        if (index / _INDEX).is_file():
            _stated_family(index)
    return _snapshot(weights, cached_only, (*_WANTED, *further))


@functools.cache
def _snapshot(weights: Weights, cached_only: bool, wanted: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    prefix = f"{weights.subfolder}/" if weights.subfolder else ""
    try:
        folder = snapshot_download(
            weights.location,
            revision=weights.revision,
            allow_patterns=[prefix + each for each in wanted],
            ignore_patterns=list(_UNWANTED),
            local_files_only=cached_only,
        )
    except Exception as error:  # the hub client's own errors and those of its HTTP library
        raise hub_error(weights, error) from error
    return Path(folder)
