"""The gates: each by one record, which everything else that names gates is made from.

What a gate judges by stands in `latentcy.gates`; this is what the plugin, the plan of a run, the
fault catalogue and the report have to know of it. tests/test_gate_records.py holds `perf_tests/`,
the README's table and the fault catalogue to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What a gate is judged from: a case's images, its timing, or a look at the loaded pipeline.
IMAGES, TIMING, LOOKING = "images", "timing", "looking"


@dataclass(frozen=True)
class Draws:
    """What one gate draws of a case.

    Attributes:
        images: of the invariants' own prompts, in as many steps as the plan gives them.
        calls: of the workload, with all its images.
        call_steps: of each of those calls; 0 for the steps that the plan gives a schedule.
    """

    images: int = 0
    calls: int = 0
    call_steps: int = 0


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        name: as it stands in `Verdict.gate`, in the table and in the JSON.
        promise: the test of `perf_tests/` that holds a case to it.
        phase: IMAGES, TIMING or LOOKING.
        draws: what it draws beyond a case's images and its timing; None where that is nothing
            that a plan could leave out.
        shows_images: whether what it reports can be seen in the images.
        is_last: whether it is judged when all cases are through.
        is_injected: whether a fault of the catalogue can be asked to fail it.
    """

    name: str
    promise: str
    phase: str
    draws: Draws | None = None
    shows_images: bool = True
    is_last: bool = False
    is_injected: bool = True


GATES = (
    Gate("black images", "test_no_image_is_black", IMAGES),
    Gate("tokens", "test_no_prompt_is_cut", IMAGES, shows_images=False),
    Gate("SSIM", "test_ssim", IMAGES),
    Gate("local SSIM", "test_local_ssim", IMAGES),
    Gate("tone", "test_tone", IMAGES),
    Gate("sharpness", "test_sharpness", IMAGES),
    Gate("CLIP", "test_clip", IMAGES),
    Gate("image distance", "test_image_distance", IMAGES),
    Gate("distribution", "test_distribution", IMAGES),
    Gate("stored images", "test_stored_images", IMAGES),
    Gate("latency", "test_latency", TIMING, shows_images=False, is_injected=False),
    Gate("climbing", "test_latency_does_not_climb", TIMING, shows_images=False),
    Gate("speed", "test_speed", TIMING, shows_images=False, is_last=True),
    Gate("memory", "test_memory", LOOKING, shows_images=False),
    Gate(
        "schedule",
        "test_the_schedule_is_as_stated",
        LOOKING,
        Draws(calls=1),
        shows_images=False,
    ),
    Gate(
        "dtype",
        "test_the_dtype_is_as_stated",
        LOOKING,
        Draws(calls=1, call_steps=2),
        shows_images=False,
    ),
    Gate(
        "switches",
        "test_switches_stay_as_stated",
        LOOKING,
        Draws(calls=3, call_steps=2),
        shows_images=False,
    ),
    Gate("new process", "test_same_image_in_a_new_process", LOOKING, Draws(images=2)),
    Gate("repeat", "test_same_seed_same_image", LOOKING, Draws(images=6)),
    Gate("seed", "test_another_seed_is_another_image", LOOKING, Draws(images=3)),
    Gate("batch", "test_a_batch_is_its_images", LOOKING, Draws(images=12)),
    Gate("history", "test_what_ran_before_does_not_matter", LOOKING, Draws(images=5)),
    Gate(
        "syncs",
        "test_no_more_synchronisations",
        LOOKING,
        Draws(calls=1, call_steps=10),
        shows_images=False,
    ),
    Gate("operators", "test_no_more_operators", LOOKING, Draws(), shows_images=False),
    Gate("generator", "test_the_generator_is_honoured", LOOKING, Draws(images=12)),
    Gate("placement", "test_placement_changes_nothing", LOOKING, Draws(images=10)),
    Gate(
        "growth",
        "test_nothing_grows",
        LOOKING,
        Draws(calls=11, call_steps=2),
        shows_images=False,
    ),
    Gate("leaks", "test_nothing_is_left_behind", LOOKING, shows_images=False, is_last=True),
    Gate(
        "process",
        "test_in_its_own_process",
        LOOKING,
        shows_images=False,
        is_injected=False,
    ),
)

BY_PROMISE: Mapping[str, Gate] = {gate.promise: gate for gate in GATES}
TIMED_GATES = frozenset(gate.name for gate in GATES if gate.phase == TIMING)
