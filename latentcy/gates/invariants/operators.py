"""Operators, host synchronisations and copies of a denoising step: the same in every run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import diffusers
import torch

from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict
from latentcy.measure.flops import uncompiled
from latentcy.measure.operator_counts import Operators, Reads, Tally, reported_waits
from latentcy.pipelines.devices.device import Device
from latentcy.pipelines.families import family_of
from latentcy.pipelines.interception import wrapped
from latentcy.pipelines.optimizations.cuda_graphs import Replayed
from latentcy.pipelines.sampler import Sampler
from latentcy.pipelines.stages import with_few_steps
from latentcy.pipelines.variants import Variant

STEPS = 10  # of the generation that is counted in
STORED_SHARE = 0.02  # of the operators that may be more or fewer than stored, same versions
REFERENCE_SHARE = 0.10  # of the operators that may be more than the reference's
READS = 0.1  # host reads a step that may be more: less than one in the whole window


@dataclass(frozen=True)
class Counters:
    """Of one denoising step on average: the UNet's call, the guidance, the scheduler's step."""

    operators: float  # calls that reach torch's dispatcher
    syncs: float  # of them those that wait for the device, or would on one
    reads: float  # calls that ask for values on the host, also where they are there already
    transfers: float  # tensors copied to another device
    casts: float  # tensors copied to another dtype
    waits: float | None = None  # synchronisations that CUDA itself reported; None without CUDA
    by_operator: Mapping[str, float] = field(default_factory=dict)
    sites: Mapping[str, float] = field(default_factory=dict)  # of syncs and reads: "file:function"
    scheduler: str = ""  # its class
    hidden: tuple[str, ...] = ()  # what is compiled or captured, and was counted run plainly
    versions: Mapping[str, str] = field(default_factory=dict)  # of torch and diffusers

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Counters:
        """Read `to_dict`'s form. Raises KeyError or TypeError where a field is missing or wrong."""
        known = {one.name: data[one.name] for one in fields(cls)}
        numbers = {name: float(known[name]) for name in _NUMBERS}
        waits = known["waits"]
        return cls(
            **known
            | numbers
            | {"hidden": tuple(known["hidden"]), "waits": None if waits is None else float(waits)}
        )


_NUMBERS = ("operators", "syncs", "reads", "transfers", "casts")


def count(sampler: Sampler) -> Counters:
    """Count in steps 3 to 8 of a generation of ten; the sampler is left as it was.

    What is compiled or captured runs plainly for this: its operators are those of its source, and
    what the compiler fused is not seen. A copy to the host is a read also on a CPU, where it costs
    nothing, so that a fault of CUDA is seen there.
    """
    tally = Tally(sampler.device.kind)
    inside = torch.cuda.is_available() and sampler.device.kind == "cuda"
    with contextlib.ExitStack() as stack:
        short = stack.enter_context(with_few_steps(sampler, STEPS))
        stack.enter_context(uncompiled(set()))
        stack.enter_context(wrapped(sampler.pipeline.scheduler, "step", tally.step))
        if inside:
            stack.enter_context(reported_waits(tally))
        stack.enter_context(Operators(tally))
        stack.enter_context(Reads(tally))
        short.generate()
    steps = max(tally.counted, 1)
    return Counters(
        operators=sum(tally.operators.values()) / steps,
        syncs=tally.syncs / steps,
        reads=tally.reads / steps,
        transfers=tally.transfers / steps,
        casts=tally.casts / steps,
        waits=tally.waits / steps if inside else None,
        by_operator={name: number / steps for name, number in tally.operators.most_common()},
        sites={name: number / steps for name, number in tally.sites.most_common()},
        scheduler=type(sampler.pipeline.scheduler).__name__,
        hidden=tuple(_hidden(sampler.pipeline)),
        versions={"torch": torch.__version__, "diffusers": diffusers.__version__},
    )


def syncs_verdict(
    counters: Counters, *, reference: Counters | None = None, stored: Counters | None = None
) -> Verdict:
    """Does a step wait for the device, and ask it for values, no more often than the reference's?

    Without a reference it is held against what is stored. A step of another scheduler may need
    others: more than its are inconclusive, as is having nothing to hold it against.
    """
    gate = "syncs"
    other, name = (reference, "the reference's") if reference else (stored, "the stored")
    told = f"{counters.syncs:g} synchronisations and {counters.reads:g} reads a step"
    if other is None:
        return Verdict(gate, INCONCLUSIVE, f"{told}, and nothing to hold them against")
    more = {
        word: (mine, its)
        for word, mine, its in (
            ("synchronisations", counters.syncs, other.syncs),
            ("host reads", counters.reads, other.reads),
            ("copies between devices", counters.transfers, other.transfers),
            ("waits reported by CUDA", counters.waits or 0.0, other.waits or 0.0),
        )
        if not mine <= its + READS
    }
    if not more:
        return Verdict(
            gate, PASSED, f"{told}, no more than {name} {other.syncs:g} and {other.reads:g}"
        )
    words = ", ".join(f"{mine:g} {word} ({its:g})" for word, (mine, its) in more.items())
    if counters.scheduler != other.scheduler:
        why = f"its scheduler is {counters.scheduler}, and {name} {other.scheduler}"
        return Verdict(gate, INCONCLUSIVE, f"a step makes {words}, but {why}")
    sites = _surplus(counters.sites, other.sites)
    place = f", most of them more at {sites[0][0]}" if sites else ""
    return Verdict(gate, FAILED, f"a step makes {words}, more than {name} in brackets{place}")


def operators_verdict(
    counters: Counters,
    *,
    reference: Counters | None = None,
    stored: Counters | None = None,
    same_computation: bool = False,
) -> Verdict:
    """Does a step run as many operators as it did, or as its reference?

    Stored counters of the same torch and diffusers bind: more or fewer than STORED_SHARE fails.
    Without them, a variant that promises the `same_computation` as its reference by the same
    scheduler may run REFERENCE_SHARE more, and any fewer; for others it is inconclusive.
    """
    gate = "operators"
    hidden = f" ({', '.join(counters.hidden)} counted as its source)" if counters.hidden else ""
    told = f"{counters.operators:.0f} operators a step{hidden}"
    if stored is not None and dict(stored.versions) == dict(counters.versions):
        change = _change(counters.operators, stored.operators)
        kept = abs(change) <= STORED_SHARE
        limit, other, name = f"{STORED_SHARE:.0%} either way", stored, "stored"
    elif reference is not None and same_computation and counters.scheduler == reference.scheduler:
        change = _change(counters.operators, reference.operators)
        kept = change <= REFERENCE_SHARE
        limit, other, name = f"{REFERENCE_SHARE:.0%} more", reference, "of the reference"
    else:
        why = "nothing to hold them against"
        if stored is not None:
            why = "what is stored is of " + _versions(stored) + ", not " + _versions(counters)
        elif reference is not None:
            why = "the variant does not promise the same computation as its reference"
        return Verdict(gate, INCONCLUSIVE, f"{told}: {why}")
    words = f"{told}, {change:+.1%} against the {other.operators:.0f} {name} ({limit} allowed)"
    if kept:
        return Verdict(gate, PASSED, words)
    pair = (counters.by_operator, other.by_operator)
    surplus = _surplus(*(pair if change > 0 else pair[::-1]))[:3]
    direction = "more" if change > 0 else "fewer"
    named = ", ".join(f"{number:g} {direction} {one}" for one, number in surplus)
    words += f": {named}" if named else ""
    if name == "of the reference":
        words += "; where that is meant, the variant states no_slower_on=()"
    return Verdict(gate, FAILED, words)


def same_computation(variant: Variant, reference: Variant, device: Device) -> bool:
    """Whether the variant promises to compute what its reference does, in no more operators.

    So it is where both run the same network with the same schedule, SSIM to that reference is
    promised (as it is by a variant that states no quality), and somewhere the variant is to be no
    slower. Left out are those that are told to do the same in other pieces (eager attention is to
    be no faster anywhere) and autocast, which adds casts.
    """
    autocasts = (one.resolved_autocast(device) for one in (variant, reference))
    return (
        variant.id != reference.id
        and variant.ssim_reference is not None
        and (variant.quality is None or variant.quality.ssim is not None)
        and bool(variant.no_slower_on)
        and (variant.is_distilled, variant.steps, variant.scheduler)
        == (reference.is_distilled, reference.steps, reference.scheduler)
        and not any(autocasts)
    )


def _hidden(pipeline: Any) -> Iterator[str]:
    family = family_of(pipeline)
    for part in (family.denoiser, family.decoder):
        for name, module in getattr(pipeline, part).named_modules():
            forward = vars(module).get("forward")
            whole = getattr(module, "_compiled_call_impl", None) is not None
            if (
                whole
                or isinstance(forward, Replayed)
                or hasattr(forward, "_torchdynamo_orig_callable")
            ):
                yield f"{part}.{name}".rstrip(".")


def _surplus(mine: Mapping[str, float], its: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    more = ((name, number - its.get(name, 0.0)) for name, number in mine.items())
    return sorted((one for one in more if one[1] > 0), key=lambda one: -one[1])


def _change(mine: float, its: float) -> float:
    return mine / its - 1 if its > 0 else float("nan")


def _versions(counters: Counters) -> str:
    return " and ".join(f"{name} {one}" for name, one in counters.versions.items())
