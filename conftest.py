"""Joins the fixtures to pytest: options, the run, and what is printed."""

pytest_plugins = [
    "pytester",
    "fixtures.options",
    "fixtures.run",
    "fixtures.verdicts",
    "fixtures.output",
    "fixtures.progress",
]
