"""What is kept: results, baselines, golden images, history."""
