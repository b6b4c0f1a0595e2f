"""Exceptions say who must act; expected outcomes are values, not exceptions.

    FlowMachineError
    ├── ConfigurationError   the user: a file, a topic, a right is wrong; carries all problems at once
    ├── TransientError       nobody: try again with backoff (the log is away)
    ├── FencedError          nobody: another engine owns the partition; drop it, never retry
    └── InvariantError       us: a bug; stop before anything is written

Each class has a stable `code`: metric label, condition reason and documentation anchor.
"""

from collections.abc import Sequence
from typing import ClassVar, final

import msgspec


@final
class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong, where (a field path such as `spec.machine.states[3].id`), and what to do about it."""

    path: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class FlowMachineError(Exception):
    """Root of all errors that this project raises on purpose."""

    code: ClassVar[str] = "error"


class ConfigurationError(FlowMachineError):
    """The user must change something; `problems` says what, all of it at once."""

    code = "configuration"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def of(cls, path: str, code: str, message: str) -> "ConfigurationError":
        """An error with a single problem."""
        return cls([Problem(path, code, message)])


class TransientError(FlowMachineError):
    """Worth trying again after a pause."""

    code = "transient"


class FencedError(FlowMachineError):
    """Another engine owns this partition now."""

    code = "fenced"


class InvariantError(FlowMachineError):
    """Something that cannot be happened; a bug of ours."""

    code = "invariant"
