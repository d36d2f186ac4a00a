"""What a run is asked to do, and the variants that this means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; the defaults are those of the command line."""

    model: str = "auto"
    device: str = "auto"
    variants_file: Path | None = None
    builtin: bool = True
    only: tuple[str, ...] | None = None
    case: str | None = None  # "group/name": this variant's case alone
    shard: tuple[int, int] = (1, 1)  # (k, n): every n-th case, from the k-th
    prompts_file: Path | None = None
    images: int = 0  # 0: 16, or one for each prompt of the file
    image_steps: int = 0  # denoising steps of those images; 0: the workload's own
    first_seed: int = 2023  # of the first image; the published page's
    batch: int = 4  # images in one call, where their quality is looked at
    rounds: int | None = None  # of a case that is paired with nothing
    pairs: int | None = None  # None: until it is known; 0: no reference is timed
    precision: float = 0.0  # half-width of the interval as a share; 0: no such width
    minutes: float | None = None  # of the run after loading; 0: no limit; None: by the model
    planned: bool = True  # False: no minutes but those that are asked for
    budget: float = 0.0  # seconds for all timing; 0: no limit
    order_seed: int = 2023
    threads: int = 0  # of torch on a CPU; 0: one for the miniature, else torch's own
    against: str | None = None  # another interpreter, whose environment is the reference
    self_check: bool = False
    trials: int = 5  # of each case in a self-check
    speed_tolerance: float = 0.01
    latency_tolerance: float = 0.10
    memory_tolerance: float = 0.10
    baselines: Path = Path("baselines")
    results: Path = Path("latentcy-results")
    record: bool = False
    trace: bool = False
    command: tuple[str, ...] = ()  # the arguments of the command line, to run a case again
