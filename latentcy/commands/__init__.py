"""What `python -m latentcy` does besides running: report, history, changes, merge, bisect."""
