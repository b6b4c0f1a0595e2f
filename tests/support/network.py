"""A network that fails on demand: toxiproxy for the tests that put it between two real parts."""

import os
from collections.abc import Iterator

import pytest

from dev.kafka.errors import ToolMissingError
from dev.toxiproxy import Toxiproxy


@pytest.fixture
def toxiproxy() -> Iterator[Toxiproxy]:
    """A proxy of the test's own; skips the test when there is none to be had, and fails it when CI=true."""
    try:
        made = Toxiproxy()
    except ToolMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with made:
        yield made
