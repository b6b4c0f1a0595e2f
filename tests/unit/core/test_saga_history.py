import msgspec
import pytest

from flowmachine.core.definition import BusinessEvent, BusinessState, event_frame
from flowmachine.core.saga import EMPTY_HISTORY, append_history, history_labels
from tests.support.builders import as_json, history_of, saga_after, small_machine, state

AT = "2025-01-02T03:04:05.678Z"


def test_first_entry_makes_arrays_of_one() -> None:
    there = state("there", business_state=BusinessState("b", "Beta"))
    history = append_history(EMPTY_HISTORY, event_frame("go", None), there.frame, AT)
    assert bytes(history.events) == b'[{"event":"go","timestamp":"%s"}]' % AT.encode()
    assert as_json(history)["states"] == [
        {"state": "there", "timestamp": AT, "businessStateId": "b", "businessStateDescription": "Beta"}
    ]


@pytest.mark.parametrize("named", [BusinessEvent(0, ""), BusinessEvent(-7, "Seven"), BusinessEvent("text", "Text")])
def test_business_event_is_part_of_the_event(named: BusinessEvent) -> None:
    history = append_history(EMPTY_HISTORY, event_frame("go", named), state("there").frame, AT)
    assert as_json(history)["events"] == [
        {
            "event": "go",
            "timestamp": AT,
            "businessEventId": named.id,
            "businessEventDescription": named.description,
        }
    ]


def test_entries_are_added_at_the_end_and_the_past_is_not_touched() -> None:
    once = append_history(EMPTY_HISTORY, event_frame("one", None), state("a").frame, AT)
    twice = append_history(once, event_frame("two", None), state("b").frame, AT)
    assert bytes(twice.events).startswith(bytes(once.events)[:-1])
    assert [each["state"] for each in as_json(twice)["states"]] == ["a", "b"]
    assert len(as_json(once)["events"]) == 1


def test_names_that_json_must_escape_come_back() -> None:
    awkward = '"quoted" \\ \n\x00 ü 🎉 ]}'
    history = append_history(
        EMPTY_HISTORY,
        event_frame(awkward, BusinessEvent(awkward, awkward)),
        state(awkward, business_state=BusinessState(awkward, awkward)).frame,
        AT,
    )
    assert history_labels(history) == [awkward]
    assert set(as_json(history)["states"][0].values()) == {awkward, AT}


def test_labels_are_read_oldest_first() -> None:
    assert history_labels(EMPTY_HISTORY) == []
    assert history_labels(saga_after(small_machine(), "step", "stop", "again").history) == [
        "__created__",
        "step",
        "stop",
        "again",
    ]


def test_history_grows_from_a_saga_that_was_read_back_as_from_one_in_memory() -> None:
    saga = saga_after(small_machine(), "step")
    read = msgspec.json.decode(msgspec.json.encode(saga), type=type(saga))
    assert read == saga
    assert history_of(read) == history_of(saga)
