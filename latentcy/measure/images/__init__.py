"""What is read from images: health, structure, tone, scores, distributions."""
