"""Albums on disk: read with suspicion, written whole or not at all."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentcy.core.data import BASELINES_FOLDER
from latentcy.core.errors import LatentcyError
from latentcy.core.files import write_whole
from latentcy.store.baselines import baseline_path

# 1: the first.
SCHEMA = 1


def golden_images_path(baselines: Path, model: str, group: str, variant: str) -> Path:
    """Place of a stored album: <baselines>/images/<model>/<group>-<variant>.npz."""
    return baseline_path(baselines, "images", model, group, variant).with_suffix(".npz")


def find_golden_images(
    baselines: Path, model: str, group: str, variant: str
) -> GoldenImageSet | None:
    """The album in the folder of baselines, else the one that is shipped; None without either.

    Raises LatentcyError as `read_golden_images` does.
    """
    own = read_golden_images(golden_images_path(baselines, model, group, variant))
    return own or read_golden_images(golden_images_path(BASELINES_FOLDER, model, group, variant))


def write_golden_images(path: Path, album: GoldenImageSet) -> None:
    """Write whole or not at all: a temporary file beside it, then one rename.

    Raises:
        LatentcyError: the place cannot be written, or an image is not finite or of another size
            than was asked for.
    """
    try:
        _checked(album)
    except (TypeError, ValueError) as error:
        raise LatentcyError(
            found=f"images of {album.case} that cannot be stored: {error}",
            expected="finite images of the size that was asked for",
            do="mend the case before its images are recorded",
        ) from error
    arrays = {name: getattr(album, name) for name in _ARRAYS}
    about = {
        item.name: getattr(album, item.name)
        for item in dataclasses.fields(album)
        if item.name not in _ARRAYS
    }
    about["versions"] = dict(album.versions)
    text = json.dumps({"schema": SCHEMA, **about}, sort_keys=True)
    content = io.BytesIO()
    np.savez_compressed(content, about=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)
    write_whole(Path(path), content.getvalue(), "the stored images")


def read_golden_images(path: Path) -> GoldenImageSet | None:
    """Read what `write_golden_images` wrote; None where there is none. Nothing in it is executed.

    Raises:
        LatentcyError: the file is damaged, no album, of another schema, or cannot be read.
    """
    path = Path(path)
    try:
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes().decode())
            if not isinstance(about, dict) or about.get("schema") != SCHEMA:
                raise _OtherSchema(about.get("schema") if isinstance(about, dict) else None)
            return _album(about, {name: arrays[name] for name in _ARRAYS})
    except _OtherSchema as error:
        found, do = f"has schema {error.args[0]!r}, not {SCHEMA}", f"update latentcy, or {_AGAIN}"
    except OSError as error:
        found, do = f"cannot be read: {error.strerror or error}", f"free the file, or {_AGAIN}"
    except _DAMAGE as error:
        found, do = f"are damaged or no album: {type(error).__name__}: {error}"[:300], _AGAIN
    raise LatentcyError(
        found=f"the stored images {path} {found}",
        expected=f"images of schema {SCHEMA}, as latentcy writes them",
        do=do,
    )


_ARRAYS = ("thumbnails", "colours", "clip")
_AGAIN = "restore the file, or delete it and record it again with --benchmark-record"
_DAMAGE = (
    *(KeyError, TypeError, ValueError, AttributeError, EOFError, MemoryError),  # NumPy and JSON
    *(RecursionError, NotImplementedError, RuntimeError),  # JSON and ZIP
    *(zipfile.BadZipFile, zlib.error),
)


class _OtherSchema(Exception):
    """The file states another schema."""


def _album(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> GoldenImageSet:
    """The album of a file's content. Raises KeyError, TypeError or ValueError for anything else."""
    values: dict[str, Any] = {
        item.name: about[item.name]
        for item in dataclasses.fields(GoldenImageSet)
        if item.name not in _ARRAYS
    }
    values["prompts"], values["seeds"] = tuple(values["prompts"]), tuple(values["seeds"])
    return _checked(GoldenImageSet(**(values | dict(arrays))))


def _checked(album: GoldenImageSet) -> GoldenImageSet:
    """The album, if all that it holds fits together and is finite, but for CLIP.

    Raises TypeError or ValueError.
    """
    texts = ("case", "model", "weights", "scheduler", "dtype", "device")
    kinds: dict[str, tuple[Any, type]] = {name: (getattr(album, name), str) for name in texts}
    kinds |= {name: (getattr(album, name), int) for name in ("steps", "height", "width")}
    kinds["guidance_scale"] = album.guidance_scale, float
    kinds["versions"] = dict(album.versions), dict
    kinds |= {f"prompt {place}": (one, str) for place, one in enumerate(album.prompts, 1)}
    kinds |= {f"seed {place}": (one, int) for place, one in enumerate(album.seeds, 1)}
    kinds |= {f"version of {name}": (one, str) for name, one in album.versions.items()}
    for name, (value, kind) in kinds.items():
        if type(value) is not kind:
            raise TypeError(f"{name} is {value!r}, no {kind.__name__}")
    count, height, width = len(album.prompts), min(SIDE, album.height), min(SIDE, album.width)
    wanted = {
        "thumbnails": (np.uint8, (count, height, width, 3)),
        "colours": (np.float64, (count, 3)),
        "clip": (np.float64, (count,)),
    }
    if not count or len(album.seeds) != count:
        raise ValueError(f"{count} prompts for {len(album.seeds)} seeds")
    for name, (dtype, shape) in wanted.items():
        array = getattr(album, name)
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(
                f"{name} of {array.dtype} {list(array.shape)}, not {np.dtype(dtype)} {list(shape)}"
            )
    if not np.isfinite(album.colours).all():
        raise ValueError("an image holds a non-finite value")
    return album


SIDE = 64  # pixels; the greatest height and width of a thumbnail


@dataclass(frozen=True, eq=False)
class GoldenImageSet:
    """The images of one case, small, and what they were made with.

    Attributes:
        case: the case's id.
        weights: a digest of the parts that ran (`weights_identity`).
        prompts, seeds: of each image; the noise of image i is that of seeds[i].
        height, width: of the images that were asked for, in pixels.
        dtype: of the weights.
        device: its kind, "cpu", "cuda" or "mps".
        versions: of python, torch, diffusers, ...
        thumbnails: uint8 [n, h, w, 3], averaged over areas; h and w are the image's own, at
            most `SIDE`.
        colours: float64 [n, 3], mean of each channel before any rounding, nominally 0..1; NaN where
            an image holds a non-finite value.
        clip: float64 [n], 0..100; NaN where not scored.
    """

    case: str
    model: str
    weights: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    scheduler: str
    guidance_scale: float
    height: int
    width: int
    dtype: str
    device: str
    versions: Mapping[str, str]
    thumbnails: np.ndarray
    colours: np.ndarray
    clip: np.ndarray

    @property
    def images(self) -> dict[tuple[str, int], int]:
        """The place of each image, by its prompt and seed."""
        pairs = zip(self.prompts, self.seeds, strict=True)
        return {pair: place for place, pair in enumerate(pairs)}
