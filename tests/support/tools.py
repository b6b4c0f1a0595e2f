"""Programs that tests need and a machine may lack."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from dev.errors import ToolMissingError


@contextmanager
def skipped_without_tools(hint: str = "") -> Generator[None]:
    """Skip the test with a sentence that says what to install; in CI a skipped test fails (`tests/conftest.py`)."""
    try:
        yield
    except ToolMissingError as error:
        pytest.skip(f"{error} {hint}".rstrip())
