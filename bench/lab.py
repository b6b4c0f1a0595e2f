"""What all measurements share: the broker under load, a folder for files, and a voice that shows progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]
"""Tells how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A running broker and where to work."""

    bootstrap: str
    broker_pid: int
    broker_started: float
    """By the monotonic clock."""
    folder: Path
    say: Say

    @property
    def broker_age_seconds(self) -> float:
        """How long the broker's JVM has had to warm up."""
        return time.monotonic() - self.broker_started
