"""This repository's own: the short forms of the options."""

from pathlib import Path

import pytest
from latentcy.fixtures.options import SHORT_NAMES, add_short_names


def pytest_addoption(parser: pytest.Parser) -> None:
    add_short_names(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Another repository that collects the promises from here reads this too late for its options.
    config.stash[SHORT_NAMES] = config.rootpath == Path(__file__).parent
