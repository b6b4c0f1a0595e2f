"""What a decision asks of the shell, and what became of the input.

A command over HTTP is not an action: it is part of the saga (its outbox), so it survives whatever happens to the shell.
"""

from enum import StrEnum
from typing import final

import msgspec

from flowmachine.core.definition import PayloadText, SendCommand
from flowmachine.core.saga import Saga


class Outcome(StrEnum):
    """What became of an input; the values are metric labels and documentation anchors."""

    CREATED = "created"
    ADVANCED = "advanced"
    ADOPTED = "adopted"
    """A saga was loaded from the store, and is the engine's now."""
    SETTLED = "settled"
    """An outbox entry was delivered, or given up."""
    DUPLICATE = "duplicate"
    """Already applied: a second creation, or an event that the saga has taken before and does not expect now."""
    UNEXPECTED = "unexpected"
    FINISHED = "finished"
    """An event for a saga that is in a final state."""
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_SAGA = "unknown_saga"
    HELD = "held"
    """The saga cannot move: its state is not in this machine, or a hook has failed. The event is kept in the saga."""
    RESUMED = "resumed"
    """The command that a hook could not make has been sent after all."""
    HELD_TOO_MANY = "held_too_many"
    """As before, but the saga holds as many events as it may."""
    MALFORMED = "malformed"
    """Not a message at all; decided where bytes are decoded."""
    TOO_LARGE = "too_large"
    """Applying it would make a record that the log does not take; decided where records are encoded."""


CHANGING = frozenset(
    {Outcome.CREATED, Outcome.ADVANCED, Outcome.SETTLED, Outcome.HELD, Outcome.RESUMED, Outcome.ADOPTED}
)
"""Outcomes after which the saga is another one."""
ENTERING = frozenset({Outcome.CREATED, Outcome.ADVANCED})
"""Those by which it has entered a state."""


@final
class HookFailure(msgspec.Struct, frozen=True, gc=False):
    """What a hook could not do. `command` None: it could not merge an event's payload.

    A side command is then not sent; anything else holds the saga.
    """

    command: str | None
    is_side_command: bool
    reason: str


@final
class Decision(msgspec.Struct, frozen=True, gc=False):
    """`saga` is what the saga is now (None: there is none); `reason` explains an outcome that changes nothing."""

    outcome: Outcome
    saga: Saga | None
    commands: tuple[SendCommand, ...] = ()
    reason: str = ""
    failures: tuple[HookFailure, ...] = ()

    def payload_of(self, command: SendCommand) -> PayloadText:
        """What one of the commands carries."""
        if command.payload is not None:
            return command.payload
        assert self.saga is not None
        return self.saga.metadata
