"""The miniature: a small world of captioned pictures and the models trained on it."""
