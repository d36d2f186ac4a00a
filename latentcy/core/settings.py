"""What a run can be asked to do: of each setting its option, how its text is read, and its help."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from latentcy.core import option_values as values


@dataclass(frozen=True)
class Option:
    """A setting as it is given on a command line, or in an ini file.

    Attributes:
        name: "image-steps"; "--latentcy-" stands before it on the command line.
        setting: the field of Settings that it sets.
        help: what it does, for `pytest --help`.
        default: the text that gives the field's default value.
        read: from a text to the field's value; raises LatentcyError.
        is_flag: it takes no value on the command line.
        is_path: it names a file or a folder, or a place that may be one.
        turns_off: the flag gives False.
    """

    name: str
    setting: str
    help: str
    default: str
    read: values.Read
    is_flag: bool = False
    is_path: bool = False
    turns_off: bool = False

    @property
    def key(self) -> str:
        """Its name in an ini file."""
        return f"latentcy_{self.name.replace('-', '_')}"

    def value(self, text: str) -> Any:
        """The setting's value. Raises LatentcyError where the text gives none."""
        read = self.read(self.name, text)
        return not read if self.turns_off else read


def _setting(value: Any, read: values.Read, help: str, **option: Any) -> Any:
    default = "" if value is None else str(value)
    given = {"default": default, "read": read, "help": help, **option}
    return field(default=value, metadata={"option": given})


def _flag(default: bool, help: str, **option: Any) -> Any:
    given = {"default": "false", "read": values.flag, "help": help, "is_flag": True, **option}
    return field(default=default, metadata={"option": given})


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; `None`, 0 and "" mean what the help of the option says."""

    model: str = _setting(
        "auto",
        values.text,
        "auto, miniature, sd15, sd14, either with -synthetic or -synthetic-small,"
        " a folder, or a hub id[@revision]",
        is_path=True,
    )
    device: str = _setting("auto", values.text, "auto, cpu, cuda or cuda:N")
    variants_file: Path | None = _setting(
        None,
        values.optional_path,
        "Python FILE that defines VARIANTS, run beside the built-in ones",
        name="variants",
        is_path=True,
    )
    builtin: bool = _flag(
        True,
        "with --variants: run the file's variants and their references alone",
        name="no-builtin",
        turns_off=True,
    )
    only: tuple[str, ...] | None = _setting(
        None, values.names, "comma-separated variants: NAME, GROUP/NAME or GROUP, such as stack"
    )
    case: str | None = _setting(
        None,
        values.optional_text,
        "one variant's case alone, GROUP/NAME, with the references that it needs",
    )
    shard: tuple[int, int] = _setting(
        (1, 1),
        values.shard,
        "K/N: every N-th case, from the K-th; merge with python -m latentcy merge",
        default="1/1",
    )
    prompts_file: Path | None = _setting(
        None,
        values.optional_path,
        "FILE of prompts for the quality tests, one a line, or with a tab and a seed",
        name="prompts",
        is_path=True,
    )
    images: int = _setting(
        0,
        values.count,
        "images of each case for its quality; 0: 16, or one for each of --prompts",
    )
    image_steps: int = _setting(
        0,
        values.count,
        "denoising steps of those images, at most the workload's; 0: the workload's own",
    )
    first_seed: int = _setting(  # the published page's
        2023, values.count, "seed of the first image; each further one has the next"
    )
    batch: int = _setting(
        4, values.positive, "images in one call, where their quality is looked at"
    )
    inject: str = _setting(
        "", values.text, "FAULTS of the catalogue, or all, to see gates fail; ? lists them"
    )
    rounds: int | None = _setting(
        None,
        values.optional_count,
        "timings of a case without a pair; 0: as published, at least 5 or 3",
        default="0",
    )
    pairs: int | None = _setting(
        None,
        values.pairs,
        "timings of a case, each paired with its reference's; 0: no pairs; without it, of a case"
        " that promises speed, as many as it takes to know, at most 80",
    )
    precision: float = _setting(
        0.0,
        values.fraction,
        "half-width of the interval, a fraction; 0: until it is known",
    )
    minutes: float | None = _setting(
        None,
        values.minutes,
        "MINUTES that the run may take after loading, by which it is planned; 0: no limit;"
        " without it 5 for the miniature, else no limit",
    )
    budget: float = _setting(0.0, values.seconds, "seconds for all timing; 0: no limit")
    order_seed: int = _setting(2023, values.count, "seed of the order in pairs")
    threads: int = _setting(
        0, values.count, "of torch on a CPU; 0: one for the miniature, else torch's own"
    )
    against: str | None = _setting(
        None,
        values.optional_text,
        "Python INTERPRETER of another environment, to be the reference",
        is_path=True,
    )
    self_check: bool = _flag(
        False, "time each case against itself, and say how often this machine gives a false alarm"
    )
    trials: int = _setting(5, values.positive, "with --self-check: trials of each case")
    isolate: bool = _flag(
        False, "run each case in a process of its own, so that a crash or a hang costs it alone"
    )
    limit_seconds: float = _setting(
        1800.0,
        values.seconds,
        "with --isolate: seconds that a case's process may take; 0: no limit",
        name="limit",
    )
    speed_tolerance: float = _setting(
        0.01,
        values.fraction,
        "fraction by which a case may be slower than its reference",
    )
    latency_tolerance: float = _setting(
        0.10, values.fraction, "fraction by which a latency may exceed its baseline"
    )
    memory_tolerance: float = _setting(
        0.10, values.fraction, "fraction by which memory may exceed its baseline"
    )
    baselines: Path = _setting(
        Path("baselines"), values.path, "folder of stored baselines", is_path=True
    )
    record: bool = _flag(
        False,
        "store the measured latency and memory as this device's baselines",
        name="benchmark-record",
    )
    results: Path = _setting(
        Path("latentcy-results"),
        values.path,
        "folder for run.json and images.png",
        is_path=True,
    )
    trace: bool = _flag(
        False,
        "write a torch.profiler trace of each case into the results folder",
        name="trace-cases",
    )
    report: Path | None = _setting(
        None, values.optional_path, "FOLDER for the run as a page to look at", is_path=True
    )
    summary: Path | None = _setting(
        None,
        values.optional_path,
        "FILE for a summary in Markdown; $GITHUB_STEP_SUMMARY where that is set",
        is_path=True,
    )
    history: str | None = _setting(
        None,
        values.optional_text,
        "database that records the run: an SQLite file, or a database's URL",
        is_path=True,
    )
    smaller_is_better: Path | None = _setting(
        None,
        values.optional_path,
        "FILE for github-action-benchmark's customSmallerIsBetter",
        is_path=True,
    )
    bencher: Path | None = _setting(
        None, values.optional_path, "FILE for Bencher's metric format", is_path=True
    )
    # Not asked for, but found when the run starts.
    planned: bool = True  # False: no minutes but those that are asked for
    command: tuple[str, ...] = ()  # the arguments of the command line, to run a case again


def _options() -> tuple[Option, ...]:
    made = []
    for one in fields(Settings):
        if given := one.metadata.get("option"):
            name = given.get("name", one.name.replace("_", "-"))
            made.append(Option(**{**given, "name": name, "setting": one.name}))
    return tuple(made)


OPTIONS = _options()
BY_NAME = {option.name: option for option in OPTIONS}
