"""Promise: what becomes of one case costs that case alone (with --isolate)."""


def test_in_its_own_process(case, apart, promise_all):
    """Every gate of the case, in a process of its own; speed is judged among all cases."""
    promise_all(apart.measure(case))
