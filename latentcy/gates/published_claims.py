"""Claims of the published page, held against what a run has measured. Pure functions.

diffusers documentation v0.30.2, "Speed up inference". A refuted claim is a finding about the page,
on this device and these versions; it fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentcy.core.costs import Component
from latentcy.pipelines.families import STABLE_DIFFUSION

if TYPE_CHECKING:
    from latentcy.core.record import Record

CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "open"

# What the page's own rounding leaves open: its speed-ups have two digits behind the point.
ROUNDING = 0.005


@dataclass(frozen=True)
class Evidence:
    """What claims are judged by: records by "group/variant", tf32's defaults, the shapes' model."""

    records: Mapping[str, Record]
    tf32_defaults: Mapping[str, bool]  # "convolutions", "matrix products"
    published_as: str | None  # "sd15" | "sd14", where the model has their shapes


@dataclass(frozen=True)
class Finding:
    """A claim, whether it holds here, and the figures."""

    claim: str
    status: str  # "confirmed" | "refuted" | "open"
    figures: str


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """Every claim of the page, in its order."""
    return tuple(Finding(claim, *judge(evidence)) for claim, judge in _CLAIMS.items())


_Judged = tuple[str, str]


def _tf32_defaults(evidence: Evidence) -> _Judged:
    seen = evidence.tf32_defaults
    figures = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in seen.items())
    holds = seen["convolutions"] and not seen["matrix products"]
    return (CONFIRMED if holds else REFUTED), figures


def _tf32_accuracy(evidence: Evidence) -> _Judged:
    record = evidence.records.get("precision/tf32")
    if record is None or record.ssim is None:
        return OPEN, _not_measured(record, "precision/tf32 has no SSIM here")
    holds = record.ssim >= 0.98
    return (CONFIRMED if holds else REFUTED), f"SSIM to fp32 {record.ssim:.4f} (0.98 asked for)"


def _faster(name: str, speedup: float) -> Callable[[Evidence], _Judged]:
    """The claim of a speed-up over the baseline, by the interval of the pairs."""

    def judge(evidence: Evidence) -> _Judged:
        bounds = _speedup(evidence, name)
        if isinstance(bounds, str):
            return OPEN, bounds
        middle, low, high = bounds
        figures = f"×{middle:.2f} ({low:.2f} to {high:.2f})"
        if low >= speedup - ROUNDING:
            return CONFIRMED, figures
        return (REFUTED if high < speedup - ROUNDING else OPEN), figures

    return judge


def _smaller(evidence: Evidence) -> _Judged:
    sizes = [_parameters(evidence, f"distillation/{name}") for name in ("baseline", "distilled")]
    if evidence.published_as is None:
        return OPEN, "the model has other shapes than the page's"
    if None in sizes:
        return OPEN, "distillation/baseline or distillation/distilled was not measured"
    (full_denoiser, full), (small_denoiser, small) = sizes  # type: ignore[misc]
    denoiser, whole = 1 - small_denoiser / full_denoiser, 1 - small / full
    holds = max(denoiser, whole) >= 0.51 - ROUNDING
    return (CONFIRMED if holds else REFUTED), f"UNet {denoiser:.0%} smaller, pipeline {whole:.0%}"


def _quicker(evidence: Evidence) -> _Judged:
    bounds = _speedup(evidence, "distillation/distilled")
    if isinstance(bounds, str):
        return OPEN, bounds
    middle, low, high = (1 - 1 / each for each in bounds)
    figures = f"{middle:.1%} less time ({low:.1%} to {high:.1%})"
    if low >= 0.43 - ROUNDING:
        return CONFIRMED, figures
    return (REFUTED if high < 0.43 - ROUNDING else OPEN), figures


def _autocast_slower(evidence: Evidence) -> _Judged:
    fp16, autocast = (_speedup(evidence, f"precision/{name}") for name in ("fp16", "autocast"))
    if isinstance(fp16, str) or isinstance(autocast, str):
        return OPEN, fp16 if isinstance(fp16, str) else str(autocast)
    figures = f"fp16 ×{fp16[0]:.2f} over fp32, autocast ×{autocast[0]:.2f}"
    if autocast[2] < fp16[1]:
        return CONFIRMED, figures
    if autocast[1] > fp16[2]:
        return REFUTED, figures
    return OPEN, f"{figures}; the intervals overlap"


_CLAIMS: dict[str, Callable[[Evidence], _Judged]] = {
    "tf32 is on by default for convolutions and off for matrix products": _tf32_defaults,
    "tf32 costs typically negligible accuracy": _tf32_accuracy,
    "tf32 is ×1.27 as fast as fp32": _faster("precision/tf32", 1.27),
    "fp16 is ×1.50 as fast as fp32": _faster("precision/fp16", 1.50),
    "tf32 and fp16 together are ×1.54 as fast as fp32": _faster("precision/combined", 1.54),
    "autocast is always slower than pure float16": _autocast_slower,
    "the distilled model is 51 % smaller": _smaller,
    "the distilled model is 43 % faster": _quicker,
    "the distilled model is ×1.52 as fast": _faster("distillation/distilled", 1.52),
    "distilled with a tiny autoencoder is ×1.66 as fast": _faster(
        "distillation/distilled-tiny-vae", 1.66
    ),
}


CLAIMS = tuple(_CLAIMS)


def _speedup(evidence: Evidence, name: str) -> tuple[float, float, float] | str:
    """Speed-up and its bounds, or why there is none."""
    record = evidence.records.get(name)
    if evidence.published_as is None:
        return "the model has other shapes than the page's"
    if record is None or record.comparison is None or record.comparison.nothing:
        return _not_measured(record, f"{name} was not timed in pairs here")
    one = record.comparison
    return 1 / one.ratio, 1 / one.high, 1 / one.low


def _not_measured(record: Record | None, otherwise: str) -> str:
    return record.skipped if record is not None and record.skipped else otherwise


def _parameters(evidence: Evidence, name: str) -> tuple[int, int] | None:
    """The UNet's parameters, and all components'."""
    record = evidence.records.get(name)
    if record is None or record.costs is None:
        return None
    sizes: Sequence[Component] = record.costs.components
    denoiser = sum(one.parameters for one in sizes if one.name == STABLE_DIFFUSION.denoiser)
    return denoiser, sum(one.parameters for one in sizes)
