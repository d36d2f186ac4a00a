"""Promise: every variant is as fast, and as small, as its baseline."""


def test_latency(case, run, timed, promise):
    """Timed warm, device idle between rounds; loading and compiling stay outside."""
    promise(run.latency(case, timed(case)))


def test_memory(case, run, promise):
    """Peak memory of one generation."""
    promise(run.memory(case))
