"""What to run: devices, models, variants, workloads and the sampler that generates."""
