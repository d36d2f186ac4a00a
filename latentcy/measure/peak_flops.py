"""The device's peak: how fast it multiplies large matrices, measured in the same run."""

from __future__ import annotations

import statistics
import time

import torch

from latentcy.core.costs import PeakFlops
from latentcy.pipelines.devices.device import Device, free, switches, synchronize
from latentcy.pipelines.variants import Variant

# Rows and columns of the square matrices; the first is always tried.
_SIZES = {"cpu": (256, 512, 1024, 2048)}
_ACCELERATOR_SIZES = (2048, 4096, 8192, 16384)

_SAMPLES = 5
_SECONDS = {"cpu": 0.6}  # a size that would take longer than this is not tried
_ACCELERATOR_SECONDS = 0.2
_LEAST_SAMPLE = 0.005  # seconds: shorter ones would be launching and synchronising


class PeakFlopsCache:
    """The peaks of one device, each measured once: variants of one arithmetic share it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._known: dict[tuple[str, bool], PeakFlops] = {}

    def of(self, variant: Variant) -> PeakFlops:
        """The peak in the fastest arithmetic that the variant can do its products in.

        That is its autocast dtype, else its weights' dtype; int8 and fp8 weights are held
        against the dtype of the activations. Where fp32 is faster, because the device has no
        arithmetic for that dtype or a slow matrix product in it, convolutions run in fp32, and
        that is the peak.
        """
        device = self._device
        dtype = variant.resolved_autocast(device) or variant.resolved_dtype(device)
        # Only fp32 products know tf32, so that fp16 with and without it share a measurement.
        own = self._measured(dtype, tf32=variant.tf32 and dtype == "float32")
        if dtype == "float32" or device.kind != "cpu":
            return own
        return max(own, self._measured("float32"), key=lambda peak: peak.flops_per_second or 0.0)

    def _measured(self, dtype: str, *, tf32: bool = False) -> PeakFlops:
        key = (dtype, tf32)
        if key not in self._known:
            self._known[key] = device_peak(self._device, dtype, tf32=tf32)
        return self._known[key]


def device_peak(device: Device, dtype: str, *, tf32: bool = False) -> PeakFlops:
    """Floating-point operations a second of a square matrix product: the fastest size's median.

    Takes about 0.3 s on an accelerator and under 1 s on a CPU, and gives its memory back to the
    device: not to be called inside a measurement of memory, or between timed rounds. The
    inputs are random, because a GPU multiplies zeros at a higher clock.
    """
    allowed = _SECONDS.get(device.kind, _ACCELERATOR_SECONDS)
    best = PeakFlops(dtype, tf32, None)
    once = 0.0
    try:
        with torch.inference_mode(), switches(tf32=tf32):
            for size in _SIZES.get(device.kind, _ACCELERATOR_SIZES):
                # From the size before, half as large; that one was no faster for its work.
                if once * 8 * (_SAMPLES + 1) > allowed:
                    break
                once = _product_seconds(device, getattr(torch, dtype), size)
                reached = 2 * size**3 / once
                if best.flops_per_second is None or reached > best.flops_per_second:
                    best = PeakFlops(dtype, tf32, reached, size)
    except RuntimeError:  # no room for a larger product, or none in this dtype
        pass
    finally:
        free(device)
    return best


def _product_seconds(device: Device, dtype: torch.dtype, size: int) -> float:
    """Median seconds of one product of [size, size] matrices, after one that warms up."""
    generator = torch.Generator(device.torch).manual_seed(0)
    left, right = (
        torch.randn((size, size), generator=generator, device=device.torch).to(dtype)
        for _ in range(2)
    )
    product = left @ right

    def seconds(times: int) -> float:
        synchronize(device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right, out=product)
        synchronize(device)
        return (time.perf_counter() - started) / times

    times = max(1, round(_LEAST_SAMPLE / seconds(1)))
    return statistics.median(seconds(times) for _ in range(_SAMPLES))
