"""The fault catalogue: real failures of others, made again on a healthy pipeline."""
