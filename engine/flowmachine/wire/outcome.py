"""What became of an event that came over HTTP, as engines tell it each other."""

from typing import final

import msgspec

from flowmachine.core.actions import Outcome


@final
class IntakePlace(msgspec.Struct, frozen=True):
    """Where an event was appended."""

    partition: int
    offset: int


@final
class EventOutcome(msgspec.Struct, frozen=True):
    """`refusal` None: the event was taken (now, before, or for later); else why it changed nothing, in `reason`."""

    refusal: Outcome | None = None
    reason: str = ""


TAKEN = EventOutcome()
