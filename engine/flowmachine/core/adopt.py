"""Sagas from a store: how events wait for one, and how it becomes ours.

    event for an unknown saga ─► awaited: no state yet, only held events
                                    └─ Loaded ─► adopted, its events applied
                                              └► there is none: its events are unmatched

An awaited saga is in the changelog like any other, so its events are as safe as their offsets, and in their order.
"""

import msgspec

from flowmachine.core.actions import Decision, Outcome
from flowmachine.core.definition import Machine, StateId
from flowmachine.core.inputs import EventReceived, Loaded
from flowmachine.core.payload import encode_payload
from flowmachine.core.saga import ADOPTED, EMPTY_HISTORY, RECORD_VERSION, Saga, add_revision, is_awaited
from flowmachine.core.timestamps import format_timestamp


def build_awaited(received: EventReceived) -> Saga:
    """A saga that is still to be loaded, before its first event."""
    at = format_timestamp(received.received_at_ms)
    return Saga(
        v=RECORD_VERSION,
        seq=0,
        revision="",
        current_state=StateId(""),
        latest_event="",
        business_state_id="",
        business_state_description="",
        associated_entity_id="",
        created_at=at,
        updated_at=at,
        metadata=encode_payload({}),
        history=EMPTY_HISTORY,
    )


def decide_loaded(machine: Machine, saga: Saga | None, received: Loaded) -> Decision:
    """What the store's answer does. Only an awaited saga is replaced; its events then wait in the adopted one."""
    if saga is None or not is_awaited(saga):
        return Decision(Outcome.DUPLICATE, saga, reason="nothing to load")
    found = received.saga
    if found is None:
        return Decision(Outcome.UNKNOWN_SAGA, None, reason=received.reason)
    at = format_timestamp(received.received_at_ms)
    state = machine.states.get(StateId(found.current_state))
    adopted = msgspec.structs.replace(
        found,
        seq=max(found.seq, saga.seq) + 1,
        revision=found.revision or machine.revision,
        created_at=found.created_at or at,
        updated_at=found.updated_at or at,
        held=(*found.held, *saga.held),
        earlier_revisions=add_revision(found, ADOPTED),
    )
    if state is not None and adopted.business_state_id == "":
        adopted = msgspec.structs.replace(
            adopted,
            business_state_id=state.business_state.id,
            business_state_description=state.business_state.description,
        )
    if state is not None:
        adopted = msgspec.structs.replace(adopted, is_final=state.is_final)
    return Decision(Outcome.ADOPTED, adopted)
