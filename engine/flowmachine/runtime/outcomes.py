"""What became of the latest events of one intake partition, for those who have sent them and wait for the answer.

Only refusals are kept: an event below the committed offset that is not among them was taken.
"""

from flowmachine.core.actions import Outcome
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.outcome import TAKEN, EventOutcome

REFUSALS_MAX = 10_000
"""A few megabytes; whoever waits asks within seconds."""


class IntakeOutcomes:
    """Owned by the partition's task."""

    def __init__(self, topic: str, partition: int) -> None:
        self._place = (topic, partition)
        self._prefix = f"{topic}/{partition}/"
        self._refusals: dict[int, EventOutcome] = {}
        self._known_from = 0
        self._next_offset = 0

    def opened(self, next_offset: int) -> None:
        """The partition goes on from here; what another engine, or a lost answer, has done before is not known."""
        self._known_from = self._next_offset = next_offset
        self._refusals.clear()

    def committed(self, plan: BatchPlan) -> None:
        """A batch has become visible."""
        next_offset = plan.next_offsets.get(self._place)
        if next_offset is None:
            return
        for unmatched in plan.unmatched:
            if unmatched.outcome is not Outcome.DUPLICATE and unmatched.origin.startswith(self._prefix):
                offset = int(unmatched.origin.removeprefix(self._prefix))
                self._refusals[offset] = EventOutcome(unmatched.outcome, unmatched.reason)
        while len(self._refusals) > REFUSALS_MAX:
            oldest = next(iter(self._refusals))
            del self._refusals[oldest]
            self._known_from = oldest + 1
        self._next_offset = next_offset

    def is_handled(self, offset: int) -> bool:
        """Whether the event at this offset has been handled, here or elsewhere."""
        return offset < self._next_offset

    def find(self, offset: int) -> EventOutcome | None:
        """What became of an event that has been handled; None if that is not known any more."""
        return None if offset < self._known_from else self._refusals.get(offset, TAKEN)
