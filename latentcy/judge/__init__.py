"""Is it still as fast and as good as it was? Numbers and images in, verdicts out."""
