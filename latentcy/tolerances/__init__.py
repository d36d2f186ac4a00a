"""Derives the quality gates' tolerances from healthy changes: `python -m latentcy.tolerances`."""
