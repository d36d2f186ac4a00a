"""The quality gates' tolerances, from healthy changes: `python -m latentcy.studies.tolerances`."""
