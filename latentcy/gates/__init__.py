"""Numbers and images in, verdicts out."""
