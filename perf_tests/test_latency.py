"""Promise: every variant is as fast, and as small, as its baseline."""


def test_latency(case, run, benchmark, promise):
    """Timed warm, device idle between rounds; loading and compiling stay outside."""
    sampler = run.sampler(case)
    benchmark.extra_info["case"] = case.id
    benchmark.pedantic(sampler.generate, rounds=run.rounds(case), warmup_rounds=1)
    promise(run.latency(case, benchmark.stats.stats.data))


def test_memory(case, run, promise):
    """Peak memory of one generation."""
    promise(run.memory(case))
