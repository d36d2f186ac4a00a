"""The table of metrics: every one that a profile reads is declared, with direction and range."""

import numpy as np
import pytest

from latentcy.core.metrics import BY_NAME, METRICS
from latentcy.measure.images.profile import profile

RANDOM = np.random.default_rng(0).uniform(0, 1, (3, 32, 32, 3)).astype(np.float32)


def test_every_metric_has_one_name_and_a_direction():
    assert len(BY_NAME) == len(METRICS)
    assert {metric.better for metric in METRICS} == {"higher", "lower", "same"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_value_of_equal_images_lies_in_the_range(metric):
    assert metric.low < metric.high and metric.says
    assert metric.equal <= metric.high


def test_whatever_a_profile_reads_is_declared_and_in_range():
    seen = profile(RANDOM, RANDOM[::-1].copy())
    for name, values in seen.values.items():
        assert (BY_NAME[name].low <= values).all() and (values <= BY_NAME[name].high).all()
    assert set(seen.against) <= set(BY_NAME)


def test_equal_images_have_the_declared_value_of_every_metric():
    seen = profile(RANDOM, RANDOM)
    for name, values in seen.against.items():
        assert values == pytest.approx(np.full(3, BY_NAME[name].equal), abs=1e-12), name
