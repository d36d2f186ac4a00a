"""How often the speed gate errs on this machine, measured: `python -m latentcy.calibration`."""
