"""Promise: every variant is as fast, and as small, as its reference and its baseline."""


def test_latency(case, run, timed, promise):
    """Timed warm and in pairs, device idle between rounds; loading and compiling stay outside."""
    timed(case)
    promise(run.latency(case))


def test_latency_does_not_climb(case, run, promise):
    """Over the pairs, against the reference: no call is slower than the one before."""
    promise(run.speed.climbing(case))


def test_memory(case, run, promise):
    """Peak memory of one generation."""
    promise(run.memory(case))


def test_speed(case, run, promise):
    """Not slower than the reference, by pairs; judged last, all cases of the run together."""
    promise(run.speed.verdict(case))
