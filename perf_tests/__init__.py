"""The promises: what `pytest --benchmark` runs, and nothing else does."""
