"""Where in a generation something went wrong: hooks, overflow, handovers."""
