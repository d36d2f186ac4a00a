"""How often the speed gate errs on this machine: `python -m latentcy.studies.speed_gate`."""
