"""A record: one case's measurements, quality and verdicts, as it goes into JSON and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from latentcy.core.comparison import Comparison
from latentcy.core.costs import Costs
from latentcy.core.errors import LatentcyError
from latentcy.core.pairs import Pairs
from latentcy.core.verdict import FAILED, INCONCLUSIVE, PASSED, Verdict

# 1: the first. 2: pairs, their comparison, the yardstick and the conditions. 3: costs. 4: the
# quality profile and the counters. 5: what the plan of the run gave the case, and the looks at its
# pairs.
SCHEMA = 5
READABLE = (3, 4, SCHEMA)

SKIPPED = "skipped"

_SINCE_4 = ("image_reference", "profile", "counters")
_SINCE_5 = ("plan",)
_NUMBERS = (
    "seconds",
    "speedup",
    "yardstick_seconds",
    "published_seconds",
    "published_speedup",
    "clip",
    "ssim",
)


@dataclass(frozen=True)
class Record:
    """One case's measurements, quality and verdicts, with the environment that produced them.

    Attributes:
        case: the case's id, "<model>/<group>/<variant>".
        changes: one sentence: what differs from the fp32 baseline.
        device: the device's name.
        seconds: median latency of one generation; None where it was not measured.
        rounds: seconds of each round.
        speedup: the reference's seconds over this case's.
        pairs: seconds of reference and case, pair by pair; None where it was paired with nothing.
        paired_with: what the reference was.
        comparison: what the pairs say.
        yardstick_seconds: of a fixed workload, timed around the case.
        conditions: of the device, before and after.
        marks: what may have disturbed the measurement.
        published_seconds, published_speedup: the A100's, from a document, for show.
        peak_bytes: peak memory.
        stages: seconds of text encoding, denoising and decoding.
        costs: where time and memory go.
        clip: mean CLIP score, 0..100.
        ssim: mean SSIM to the reference's images, at most 1.
        image_reference: the variant, or the other place, that its images are held against.
        profile: for each metric of its images a summary, as `latentcy.measure.images.profile`
            writes it.
        counters: operators and host synchronisations per step.
        plan: what the case got where a run was planned (`latentcy.suite.run_plan.CasePlan`), else
            None.
        skipped: why the case was not run, else None.
        control: known-bad on purpose; its failures are findings and fail no run.
    """

    case: str
    model: str
    group: str
    variant: str
    changes: str
    device: str
    seconds: float | None = None
    rounds: tuple[float, ...] = ()
    speedup: float | None = None
    pairs: Pairs | None = None
    paired_with: str | None = None
    comparison: Comparison | None = None
    yardstick_seconds: float | None = None
    conditions: Mapping[str, Any] | None = None
    marks: tuple[str, ...] = ()
    published_seconds: float | None = None
    published_speedup: float | None = None
    peak_bytes: int | None = None
    stages: Mapping[str, float] | None = None
    costs: Costs | None = None
    clip: float | None = None
    ssim: float | None = None
    image_reference: str | None = None
    profile: Mapping[str, Any] | None = None
    counters: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None
    verdicts: tuple[Verdict, ...] = ()
    skipped: str | None = None
    control: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def planned(self) -> str:
        """What the case got where that is less than was asked for, and why; else ""."""
        return str((self.plan or {}).get("words") or "")

    @property
    def status(self) -> str:
        """ "skipped", or the worst verdict; a case without a verdict is inconclusive."""
        if self.skipped is not None:
            return SKIPPED
        statuses = {verdict.status for verdict in self.verdicts}
        if statuses == {PASSED}:
            return PASSED
        return INCONCLUSIVE if statuses <= {PASSED, INCONCLUSIVE} else FAILED

    def to_dict(self) -> dict[str, Any]:
        """Plain values that any JSON reader takes; NaN and infinities as "nan", "inf", "-inf"."""
        values: dict[str, Any] = {"schema": SCHEMA}
        for item in fields(self):
            values[item.name] = _to_json(getattr(self, item.name))
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Read what `to_dict` wrote.

        Raises:
            LatentcyError: another schema, or something missing or of the wrong kind.
        """
        schema = data.get("schema") if isinstance(data, Mapping) else None
        if schema not in READABLE:
            raise _not_a_record(f"a record of schema {schema!r}")
        try:
            since = dict.fromkeys((*(_SINCE_4 if schema < 4 else ()), *_SINCE_5))
            known = since | dict(data) if schema < SCHEMA else dict(data)
            values = {item.name: known[item.name] for item in fields(cls)}
            for name in _NUMBERS:
                values[name] = _number(values[name])
            values["rounds"] = tuple(_number(value) for value in values["rounds"])
            if values["stages"] is not None:
                stages = values["stages"].items()
                values["stages"] = {name: _number(value) for name, value in stages}
            values["verdicts"] = tuple(
                Verdict(verdict["gate"], verdict["status"], verdict["reason"])
                for verdict in values["verdicts"]
            )
            if values["pairs"] is not None:
                pairs = values["pairs"]
                values["pairs"] = Pairs(
                    reference=tuple(float(value) for value in pairs["reference"]),
                    candidate=tuple(float(value) for value in pairs["candidate"]),
                    reference_first=tuple(pairs["reference_first"]),
                    seed=pairs["seed"],
                )
            if values["comparison"] is not None:
                values["comparison"] = _comparison(values["comparison"])
            if values["costs"] is not None:
                values["costs"] = Costs.from_dict(values["costs"])
            for name in ("profile", "counters", "plan"):
                values[name] = _plain(values[name])
            values["marks"] = tuple(values["marks"])
            values["environment"] = dict(values["environment"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _not_a_record(f"a damaged record ({type(error).__name__}: {error})") from error
        return cls(**values)


def _to_json(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _to_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_json(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_to_json(one) for one in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value
    number = float(value)  # numpy's numbers too
    return number if math.isfinite(number) else str(number)


def _comparison(data: Mapping[str, Any]) -> Comparison:
    known = {"looks": 1} | dict(data)  # fixed numbers of pairs before schema 5
    values: dict[str, Any] = {item.name: known[item.name] for item in fields(Comparison)}
    texts = ("pairs", "nothing", "looks")
    return Comparison(**(values | {k: float(v) for k, v in values.items() if k not in texts}))


def _plain(value: Any) -> Any:
    """JSON values, with the numbers back that it cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _not_a_record(found: str) -> LatentcyError:
    return LatentcyError(
        found=found,
        expected=f"a record of schema {SCHEMA}, as latentcy writes it",
        do="read it with the latentcy version that wrote it, or run the case again",
    )
