"""Each claim of the published page is confirmed, refuted or left open by the figures."""

import pytest

from latentcy.core.comparison import Comparison
from latentcy.core.costs import Component, Costs
from latentcy.core.record import Record
from latentcy.gates.published_claims import Evidence, findings

DEFAULTS = {"convolutions": True, "matrix products": False}


def record(speedup=None, margin=0.01, **changed):
    comparison = None
    if speedup is not None:
        ratio = 1 / speedup
        low, high = ratio * (1 - margin), ratio * (1 + margin)
        comparison = Comparison(20, 0.01, ratio, low, high)
    return Record("c", "sd15", "g", "v", "", "A GPU", comparison=comparison, **changed)


def sized(unet, rest, **changed):
    parts = (Component("unet", unet, 2 * unet, {}), Component("vae", rest, 2 * rest, {}))
    costs = Costs(components=parts)
    return record(costs=costs, **changed)


def judged(claim, records, defaults=DEFAULTS, published_as="sd15"):
    found = findings(Evidence(records, defaults, published_as))
    return next(one for one in found if claim in one.claim)


@pytest.mark.parametrize(
    ("speedup", "margin", "status"),
    [(1.6, 0.01, "confirmed"), (1.4, 0.01, "refuted"), (1.5, 0.05, "open")],
)
def test_a_speed_up_is_judged_by_its_interval(speedup, margin, status):
    found = judged("fp16 is ×1.50", {"precision/fp16": record(speedup, margin)})
    assert found.status == status
    assert f"×{speedup:.2f} (" in found.figures


def test_what_was_not_measured_is_open_with_the_reason():
    assert judged("fp16 is ×1.50", {}).status == "open"
    skipped = {"precision/tf32": record(skipped="tf32 needs an NVIDIA GPU")}
    assert judged("tf32 is ×1.27", skipped).figures == "tf32 needs an NVIDIA GPU"


def test_another_models_figures_say_nothing_of_the_page():
    found = judged("fp16 is ×1.50", {"precision/fp16": record(9.0)}, published_as=None)
    assert (found.status, found.figures) == ("open", "the model has other shapes than the page's")


@pytest.mark.parametrize(
    ("convolutions", "products", "status"),
    [(True, False, "confirmed"), (True, True, "refuted"), (False, False, "refuted")],
)
def test_tf32s_defaults_are_read_from_torch(convolutions, products, status):
    defaults = {"convolutions": convolutions, "matrix products": products}
    assert judged("on by default", {}, defaults).status == status


def test_the_distilled_models_size_is_that_of_its_parts():
    real = {
        "distillation/baseline": sized(859_520_964, 206_714_343),
        "distillation/distilled": sized(482_346_884, 206_714_343),
    }
    found = judged("51 % smaller", real)
    assert (found.status, found.figures) == ("refuted", "UNet 44% smaller, pipeline 35%")
    half = real | {"distillation/distilled": sized(400_000_000, 206_714_343)}
    assert judged("51 % smaller", half).status == "confirmed"


def test_43_percent_faster_is_less_time():
    quick = {"distillation/distilled": record(2.0)}
    assert judged("43 % faster", quick).status == "confirmed"
    as_the_pages_own_table = {"distillation/distilled": record(1.52)}
    found = judged("43 % faster", as_the_pages_own_table)
    assert found.status == "refuted"
    assert "34.2% less time" in found.figures


def test_autocast_is_compared_with_fp16_by_their_intervals():
    fp16 = {"precision/fp16": record(1.5)}
    assert judged("autocast", fp16 | {"precision/autocast": record(1.2)}).status == "confirmed"
    faster = judged("autocast", fp16 | {"precision/autocast": record(1.8)})
    assert faster.status == "refuted"
    assert "overlap" not in faster.figures
    assert judged("autocast", fp16 | {"precision/autocast": record(1.5)}).status == "open"
