"""A run, case by case."""
