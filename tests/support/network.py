"""A network that fails on demand: toxiproxy for the tests that put it between two real parts."""

from collections.abc import Iterator

import pytest

from dev.toxiproxy import Toxiproxy
from tests.support.tools import skipped_without_tools


@pytest.fixture
def toxiproxy() -> Iterator[Toxiproxy]:
    """A proxy of the test's own; skips the test when there is none to be had."""
    with skipped_without_tools():
        made = Toxiproxy()
    with made:
        yield made
