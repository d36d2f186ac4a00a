"""What a fault is, and which gates there are to catch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from latentcy.core.gates import GATES as KNOWN_GATES
from latentcy.core.gates import TIMED_GATES
from latentcy.pipelines.variants import Quality, Tolerance, Variant

Prepare = Callable[[Any], None]

GATES = tuple(gate.name for gate in KNOWN_GATES if gate.is_injected)

# What a variant promises that changes nothing of the arithmetic: 1.0000 of every healthy one in
# float32 here. A residue of a LoRA or a layer too few costs less than half precision is allowed.
EXACT = Quality(
    ssim=Tolerance(0.999, "same weights, noise and arithmetic: nothing but rounding in float32"),
    clip_drop=Tolerance(0.02, "same weights, noise and arithmetic"),
)

REFERENCE = "sound"
STEPS = 8  # of each generation: enough for a picture, and the whole catalogue takes minutes
TIMED_STEPS = 4  # where pairs are timed: many short ones decide on a busy machine too


@dataclass(frozen=True)
class Fault:
    """One failure: what it is, who met it, how it is made, and what must report it.

    Attributes:
        name: lower case letters, digits and dashes; unique in the catalogue.
        what: one sentence on what goes wrong.
        source: who met it, as "owner/repository#number", or the page.
        prepare: changes a healthy StableDiffusionPipeline in place.
        gates: names of gates, at least one of which has to report it.
        says: regular expression that the reason of one of those gates has to match.
        settings: fields of its Variant that are not the healthy one's.
        apart: it leaves something behind that would harm the cases after it, so it runs in a
            process of its own.
        category: the heading that it stands under.
    """

    name: str
    what: str
    source: str
    prepare: Prepare
    gates: tuple[str, ...]
    says: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    apart: bool = False
    category: str = ""

    @property
    def timed(self) -> bool:
        """Whether it has to be timed in pairs to be caught."""
        return any(gate in TIMED_GATES for gate in self.gates)

    @property
    def variant(self) -> Variant:
        """The fault as a variant of the group "precision", held against the healthy one."""
        pace = {} if self.timed else {"no_slower_on": ()}
        return Variant(
            **{
                "name": self.name,
                "changes": self.what,
                "steps": TIMED_STEPS if self.timed else STEPS,
                "reference": f"{REFERENCE}-timed" if self.timed else REFERENCE,
                "ssim_reference": f"{REFERENCE}-timed" if self.timed else REFERENCE,
                "prepare": self.prepare,
                **_quality(self.settings),
                **pace,
                **self.settings,
            }
        )


def healthy(name: str, changes: str, prepare: Prepare | None = None, **settings: Any) -> Variant:
    """A variant beside the faults in which nothing is wrong, so that no gate may fail."""
    return Variant(
        **{
            "name": name,
            "changes": changes,
            "steps": STEPS,
            "reference": REFERENCE,
            "ssim_reference": REFERENCE,
            "no_slower_on": (),
            "prepare": prepare,
            **_quality(settings),
            **settings,
        }
    )


def _quality(settings: Mapping[str, Any]) -> dict[str, Quality]:
    """Exactness for what runs in float32; for other arithmetic what it promises by itself."""
    other = {"dtype", "autocast", "cpu_autocast"} & settings.keys()
    return {} if other else {"quality": EXACT}
