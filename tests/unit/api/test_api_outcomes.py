"""`throwOnUnexpectedEvents`: the answer to an event is what became of it."""

import pytest

from flowmachine.api.server import ApiSettings
from flowmachine.core.actions import CHANGING, Outcome
from flowmachine.errors import TransientError
from flowmachine.wire.outcome import EventOutcome, IntakePlace
from tests.support.api_fakes import ApiSetup, running_api

EVENT = {"key": "order-1", "value": {"messageLabel": "paymentExecuted", "messagePayload": {"paid": True}}}


def waiting(outcome: EventOutcome | None = None) -> ApiSetup:
    setup = ApiSetup(settings=ApiSettings(throws_on_unexpected_events=True))
    if outcome is not None:
        setup.gateway.event_outcome = outcome
    return setup


async def test_event_that_was_taken_is_answered_as_ever() -> None:
    async with running_api(waiting()) as api:
        response = await api.client.post("/event", json=EVENT)
        assert (response.status, await response.json()) == (200, {})


@pytest.mark.parametrize("refusal", sorted(set(Outcome) - CHANGING - {Outcome.DUPLICATE}))
async def test_refused_event_is_an_error_with_its_reason(refusal: Outcome) -> None:
    expected = {Outcome.UNKNOWN_SAGA: 404, Outcome.INVALID_PAYLOAD: 422, Outcome.TOO_LARGE: 413}.get(refusal, 409)
    async with running_api(waiting(EventOutcome(refusal, "state 'paid' does not list it"))) as api:
        response = await api.client.post("/event", json=EVENT)
        assert response.status == expected
        assert (await response.json())["message"] == "The event changed nothing: state 'paid' does not list it."


async def test_by_default_nobody_waits() -> None:
    setup = ApiSetup()
    setup.gateway.event_outcome = EventOutcome(Outcome.UNEXPECTED, "no")
    async with running_api(setup) as api:
        assert (await api.client.post("/event", json=EVENT)).status == 200


async def test_outcome_that_nobody_knows_is_503() -> None:
    setup = waiting()
    setup.gateway.error = TransientError("the event is safe, but nobody could say what became of it")
    async with running_api(setup) as api:
        response = await api.client.post("/event", json=EVENT)
        assert response.status == 503
        assert "the event is safe" in (await response.json())["message"]


async def test_other_engines_ask_for_an_outcome() -> None:
    setup = ApiSetup()
    setup.gateway.event_outcome = EventOutcome(Outcome.UNEXPECTED, "no")
    async with running_api(setup) as api:
        response = await api.client.get("/-/internal/outcomes/2/41")
        assert await response.json() == {"refusal": "unexpected", "reason": "no"}
        assert setup.gateway.outcomes_asked == [(IntakePlace(2, 41), True)]
        assert (await api.client.get("/-/internal/outcomes/2/x")).status == 400
