"""Models: the catalogue, their weights, the hub, synthetic ones."""
