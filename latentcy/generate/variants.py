"""One optimisation recipe each: what differs from the baseline, and the quality it must keep."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcy.errors import LatentcyError
from latentcy.generate.device import Device
from latentcy.generate.userfile import run_file

DTYPES = ("float32", "float16", "bfloat16")
DEVICE_KINDS = ("cpu", "cuda", "mps")
GROUP_WORKLOADS = {"precision": "single", "distillation": "batch"}


@dataclass(frozen=True)
class Tolerance:
    """A limit, and why it has this value."""

    value: float
    reason: str


@dataclass(frozen=True)
class Quality:
    """What a variant's images must keep; None where nothing is promised."""

    ssim: Tolerance | None = None  # least mean SSIM (-1..1) against `ssim_reference`
    clip_drop: Tolerance | None = None  # greatest mean paired drop, as share of `reference`'s mean


@dataclass(frozen=True)
class Variant:
    """One recipe. Raises LatentcyError where a field holds what cannot be meant."""

    name: str  # [a-z0-9-]+
    changes: str  # one sentence: what differs from the fp32 baseline
    group: str = "precision"  # "precision" | "distillation"
    dtype: str = "float32"  # of all weights, on an accelerator
    cpu_dtype: str | None = None  # on a CPU, where it differs
    tf32: bool = False  # in matrix products and convolutions
    autocast: str | None = None  # dtype of torch.autocast around the call, on an accelerator
    cpu_autocast: str | None = None  # on a CPU, where it differs
    unet: str = "full"  # "full" | "distilled"
    vae: str = "full"  # "full" | "tiny"
    reference: str = "baseline"  # in the same group: latency and CLIP are held against it
    ssim_reference: str | None = "baseline"  # None: other weights, no SSIM
    quality: Quality = Quality()
    control: bool = False  # known to be bad: judged and shown, but does not fail the run
    speed_gated: bool = True  # False: timed and shown, and held against nothing
    no_slower_on: tuple[str, ...] = DEVICE_KINDS  # where it must be no slower than `reference`
    prepare: Callable[[Any], None] | None = None  # may change the loaded pipeline in place

    def __post_init__(self) -> None:
        """Check every field that a variants file could get wrong."""
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise LatentcyError(
                found=f"a variant named {self.name!r}",
                expected="a name of lower case letters, digits and dashes",
                do="rename it",
            )
        dtypes: tuple[str | None, ...] = (*DTYPES, None)
        self._one_of("group", self.group, tuple(GROUP_WORKLOADS))
        for kind in self.no_slower_on:
            self._one_of("no_slower_on", kind, DEVICE_KINDS)
        self._one_of("dtype", self.dtype, DTYPES)
        self._one_of("cpu_dtype", self.cpu_dtype, dtypes)
        self._one_of("autocast", self.autocast, dtypes)
        self._one_of("cpu_autocast", self.cpu_autocast, dtypes)
        if not isinstance(self.reference, str):
            self._wrong("reference", self.reference, "a variant's name; its own for none")
        self._one_of("unet", self.unet, ("full", "distilled"))
        self._one_of("vae", self.vae, ("full", "tiny"))
        if self.prepare is not None and not callable(self.prepare):
            self._wrong("prepare", self.prepare, "a function of the pipeline, or None")
        if not isinstance(self.quality, Quality):
            self._wrong("quality", self.quality, "a Quality")
        for part in ("ssim", "clip_drop"):
            limit = getattr(self.quality, part)
            if limit is not None and not (
                isinstance(limit, Tolerance) and math.isfinite(limit.value)
            ):
                self._wrong(f"quality.{part}", limit, "a Tolerance with a finite value, or None")

    @property
    def id(self) -> str:
        """The variant's stable name among all groups: "group/name"."""
        return f"{self.group}/{self.name}"

    def refusal(self, device: Device) -> str | None:
        """Why the variant cannot run on this device, in one clause; None where it can."""
        if self.tf32:
            if device.kind != "cuda" or device.capability is None:
                return "tf32 needs an NVIDIA GPU of compute capability 8.0 or later"
            if device.capability < (8, 0):
                return (
                    "tf32 needs compute capability 8.0 or later, "
                    f"and {device.name} has {device.capability[0]}.{device.capability[1]}"
                )
        return None

    def resolved_dtype(self, device: Device) -> str:
        """The name of the dtype that the weights have on this device."""
        return self.cpu_dtype or self.dtype if device.kind == "cpu" else self.dtype

    def resolved_autocast(self, device: Device) -> str | None:
        """The name of the autocast dtype on this device; None where there is no autocast."""
        return self.cpu_autocast or self.autocast if device.kind == "cpu" else self.autocast

    def _one_of(self, field: str, value: object, allowed: tuple[str | None, ...]) -> None:
        if value not in allowed:
            self._wrong(field, value, f"one of {', '.join(repr(each) for each in allowed)}")

    def _wrong(self, field: str, value: object, expected: str) -> None:
        raise LatentcyError(
            found=f"{field}={value!r} in variant {self.name!r}", expected=expected, do="correct it"
        )


# CLIP moves by less than a hundredth between batch sizes (BK-SDM's model card: .2675 to .2679).
_SAME_SUBJECT = Tolerance(0.02, "same weights and noise: rounding does not change the subject")
_TF32_OR_FP16 = Quality(
    ssim=Tolerance(
        0.98, "fp16 keeps 0.9999 on the miniature; not yet measured on Stable Diffusion"
    ),
    clip_drop=_SAME_SUBJECT,
)
_BF16 = Quality(
    ssim=Tolerance(
        0.95, "8 bits of mantissa: 0.998 on the miniature; not yet measured on Stable Diffusion"
    ),
    clip_drop=_SAME_SUBJECT,
)
_DISTILLED = Tolerance(0.15, "BK-SDM-Small's card states .2677 against .2958, a drop of 9.5 %")
_TINY_SSIM = Tolerance(
    0.80, "same latents, another decoder: 0.93 on the miniature, whose small shapes blur"
)

# In the order of the published tables; bf16 and autocast stand beside them.
# Half precision and tf32 are promised to be no slower only where there is hardware for them.
_FAST_ARITHMETIC = ("cuda",)

BUILTIN: tuple[Variant, ...] = (
    Variant(
        name="baseline",
        changes="Nothing: all weights and arithmetic in fp32, tf32 off.",
        ssim_reference=None,
    ),
    Variant(
        name="tf32",
        no_slower_on=_FAST_ARITHMETIC,
        changes="Matrix products and convolutions in tf32.",
        tf32=True,
        quality=_TF32_OR_FP16,
    ),
    Variant(
        name="fp16",
        no_slower_on=_FAST_ARITHMETIC,
        changes="All weights and arithmetic in float16.",
        dtype="float16",
        quality=_TF32_OR_FP16,
    ),
    Variant(
        name="combined",
        no_slower_on=_FAST_ARITHMETIC,
        changes="float16, and tf32 for what is left in fp32.",
        dtype="float16",
        tf32=True,
        quality=_TF32_OR_FP16,
    ),
    Variant(
        name="bf16",
        no_slower_on=_FAST_ARITHMETIC,
        changes="All weights and arithmetic in bfloat16.",
        dtype="bfloat16",
        quality=_BF16,
    ),
    Variant(
        name="autocast",
        no_slower_on=_FAST_ARITHMETIC,
        changes="fp32 weights under torch.autocast, which the documentation warns of.",
        autocast="float16",
        cpu_autocast="bfloat16",
        quality=_BF16,
        control=True,
    ),
    Variant(
        name="baseline",
        group="distillation",
        changes="Nothing: the full UNet and autoencoder, in float16 (fp32 on a CPU).",
        dtype="float16",
        cpu_dtype="float32",
        ssim_reference=None,
    ),
    Variant(
        name="distilled",
        group="distillation",
        changes="The distilled UNet.",
        dtype="float16",
        cpu_dtype="float32",
        unet="distilled",
        ssim_reference=None,
        quality=Quality(clip_drop=_DISTILLED),
    ),
    Variant(
        name="distilled-tiny-vae",
        group="distillation",
        changes="The distilled UNet, and the tiny autoencoder.",
        dtype="float16",
        cpu_dtype="float32",
        unet="distilled",
        vae="tiny",
        ssim_reference="distilled",
        quality=Quality(ssim=_TINY_SSIM, clip_drop=_DISTILLED),
    ),
)


def load_variants(path: str | Path) -> tuple[Variant, ...]:
    """The VARIANTS that a Python file defines, in its order. The file is run.

    Raises LatentcyError where it is missing, does not import (with the exception and the
    line), or where VARIANTS is missing, empty, holds anything else, or holds one id twice.
    """
    path = Path(path)
    expected = "a Python file that defines VARIANTS, a list of latentcy.generate.variants.Variant"
    if not path.is_file():
        found, do = f"no file {path}", "check the path given to --variants"
        raise LatentcyError(found=found, expected=expected, do=do)
    module = run_file(path, expected)
    variants = getattr(module, "VARIANTS", None)
    if variants is None:
        found, do = f"no VARIANTS in {path}", "define VARIANTS in it"
        raise LatentcyError(found=found, expected=expected, do=do)
    if not isinstance(variants, (list, tuple)):
        raise LatentcyError(
            found=f"VARIANTS of type {type(variants).__name__} in {path}",
            expected=expected,
            do="make VARIANTS a list",
        )
    if not variants:
        found, do = f"an empty VARIANTS in {path}", "put at least one Variant into it"
        raise LatentcyError(found=found, expected=expected, do=do)
    for place, each in enumerate(variants):
        if not isinstance(each, Variant):
            raise LatentcyError(
                found=f"VARIANTS[{place}] of type {type(each).__name__} in {path}",
                expected=expected,
                do="make every element a Variant",
            )
    _refuse_duplicates(variants, f"in {path}")
    return tuple(variants)


def select(names: Sequence[str] | None, variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants called `names` ("name" in every group, or "group/name"); None takes all.

    They keep the order of `variants`. Raises LatentcyError for an unknown name, with the
    nearest one.
    """
    if names is None:
        return tuple(variants)
    known = sorted({each.name for each in variants} | {each.id for each in variants})
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            raise LatentcyError(
                found=f"a variant named {name!r}",
                expected="one of " + ", ".join(dict.fromkeys(each.name for each in variants)),
                do=f"did you mean {near[0]!r}?" if near else "use one of those names",
            )
    return tuple(each for each in variants if each.name in names or each.id in names)


def with_references(chosen: Iterable[Variant], variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """`chosen` and every variant of its group that it is held against, in `variants`' order."""
    wanted = {each.id for each in chosen}
    by_id = {each.id: each for each in variants}
    queue = [by_id[each] for each in wanted]
    while queue:
        each = queue.pop()
        for name in (each.reference, each.ssim_reference):
            key = f"{each.group}/{name}"
            if name is not None and key not in wanted:
                wanted.add(key)
                queue.append(by_id[key])
    return tuple(each for each in variants if each.id in wanted)


def merge(builtin: Sequence[Variant], user: Sequence[Variant]) -> tuple[Variant, ...]:
    """The built-in variants followed by the user's.

    Raises LatentcyError where one id stands twice, or where a variant is held against one
    that its group does not have.
    """
    merged = (*builtin, *user)
    _refuse_duplicates(merged, "among the built-in variants and the variants file")
    ids = {each.id for each in merged}
    for each in merged:
        for name in (each.reference, each.ssim_reference):
            if name is not None and f"{each.group}/{name}" not in ids:
                group = ", ".join(other.name for other in merged if other.group == each.group)
                raise LatentcyError(
                    found=f"variant {each.name!r} held against {name!r}",
                    expected=f"a variant of the {each.group} group: {group}",
                    do="correct its reference or ssim_reference",
                )
    return merged


def _refuse_duplicates(variants: Iterable[Variant], where: str) -> None:
    seen: set[str] = set()
    for each in variants:
        if each.id in seen:
            raise LatentcyError(
                found=f"two variants with the id {each.id} {where}",
                expected="every name once in its group",
                do="rename one of them",
            )
        seen.add(each.id)
