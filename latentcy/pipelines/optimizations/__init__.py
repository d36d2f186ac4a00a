"""Changes to a pipeline, of which variants are made."""
