"""What to run: workloads, variants, devices, models and the sampler that generates."""
