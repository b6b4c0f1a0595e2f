"""What the owner of an intake partition remembers of its latest events."""

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.partition.plan import BatchPlan, Unmatched
from flowmachine.runtime import outcomes
from flowmachine.runtime.outcomes import IntakeOutcomes
from flowmachine.wire.outcome import TAKEN, EventOutcome
from tests.unit.adapters.test_prometheus import batch


def plan(next_offset: int | None, *unmatched: Unmatched) -> BatchPlan:
    offsets = {("events", 1): 7} if next_offset is None else {("intake", 1): next_offset}
    return msgspec.structs.replace(batch(unmatched=list(unmatched)), next_offsets=offsets)


def refused(outcome: Outcome, origin: str) -> Unmatched:
    return Unmatched(outcome, "because", origin, "saga", "event")


@pytest.fixture
def known() -> IntakeOutcomes:
    known = IntakeOutcomes("intake", 1)
    known.opened(10)
    return known


def test_event_is_handled_once_its_offset_is_committed(known: IntakeOutcomes) -> None:
    assert not known.is_handled(10)
    known.committed(plan(None))
    assert not known.is_handled(10)
    known.committed(plan(11))
    assert known.is_handled(10)
    assert known.find(10) == TAKEN


def test_refusals_are_told_and_duplicates_are_none(known: IntakeOutcomes) -> None:
    known.committed(
        plan(
            13,
            refused(Outcome.UNEXPECTED, "intake/1/10"),
            refused(Outcome.DUPLICATE, "intake/1/11"),
            refused(Outcome.UNEXPECTED, "events/1/12"),
        )
    )
    assert known.find(10) == EventOutcome(Outcome.UNEXPECTED, "because")
    assert (known.find(11), known.find(12)) == (TAKEN, TAKEN)


def test_what_was_handled_before_the_partition_was_opened_is_not_known(known: IntakeOutcomes) -> None:
    assert known.is_handled(9)
    assert known.find(9) is None
    known.committed(plan(12, refused(Outcome.UNEXPECTED, "intake/1/11")))
    known.opened(12)
    assert known.find(11) is None


def test_only_the_latest_refusals_are_kept(known: IntakeOutcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "REFUSALS_MAX", 2)
    known.committed(plan(15, *(refused(Outcome.UNEXPECTED, f"intake/1/{offset}") for offset in range(10, 14))))
    assert [known.find(offset) is None for offset in range(10, 15)] == [True, True, False, False, False]
