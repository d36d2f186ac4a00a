"""Which way is worse, by the name of a metric."""

from __future__ import annotations

from latentcy.store.history import rows

LOWER, HIGHER = "lower", "higher"

_BETTER = {
    rows.LATENCY: LOWER,
    rows.SPEEDUP: HIGHER,
    rows.RATIO: LOWER,
    rows.MEMORY: LOWER,
    rows.CLIP: HIGHER,
    rows.SSIM: HIGHER,
}

# Words in the names of other metrics. As torchmetrics declares them with `higher_is_better`.
_WORDS = {
    "lpips": LOWER,
    "dists": LOWER,
    "fid": LOWER,
    "kid": LOWER,
    "mse": LOWER,
    "seconds": LOWER,
    "bytes": LOWER,
    "ssim": HIGHER,
    "psnr": HIGHER,
    "clip": HIGHER,
    "speedup": HIGHER,
}


def better(metric: str, unit: str = "") -> str | None:
    """ "lower" or "higher"; None where it is not known which is better."""
    if metric in _BETTER:
        return _BETTER[metric]
    words = metric.lower().replace(".", "_").replace("-", "_").replace(" ", "_").split("_")
    known = {_WORDS[word] for word in words if word in _WORDS}
    if len(known) == 1:
        return known.pop()
    return LOWER if unit in ("s", "bytes") else None
