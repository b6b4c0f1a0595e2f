"""Participants over a real broker: what happens when their group leaves them behind."""

import asyncio
import time

import pytest

from flowmachine.participants import Command, KafkaTransport, Participant
from flowmachine.wire.message import encode_message
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker, create_topics, produce, unique_name

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SESSION_SECONDS = 10.0
"""aiokafka's default: whoever sends no heartbeat for so long is put out of its group."""


async def test_a_participant_that_was_put_out_of_its_group_comes_back(kafka_broker: KafkaBroker) -> None:
    commands, events = unique_name("commands"), unique_name("events")
    await create_topics(kafka_broker.bootstrap, {commands: 1, events: 1})
    participant, taken = Participant(), list[str]()

    @participant.on("ship")
    async def ship(command: Command) -> None:
        if not taken:
            time.sleep(SESSION_SECONDS + 2)  # noqa: ASYNC251 - as a handler that does not know better
        taken.append(command.saga_id)

    transport = KafkaTransport([kafka_broker.bootstrap], [commands], events, unique_name("group"))
    run = asyncio.create_task(participant.run(transport))
    try:
        await produce(kafka_broker.bootstrap, commands, [(b"first", encode_message("ship", {}), None, ())])
        await eventually(lambda: "first" in taken or run.done(), "the first command is taken", timeout_seconds=60)
        await produce(kafka_broker.bootstrap, commands, [(b"second", encode_message("ship", {}), None, ())])
        await eventually(lambda: "second" in taken or run.done(), "the second is, too", timeout_seconds=60)
        assert not run.done(), run.exception()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
