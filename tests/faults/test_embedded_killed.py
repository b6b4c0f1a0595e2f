"""kill -9 again and again with the embedded log: every saga completes, every command is there once."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from dev.engine_process import EngineProcess
from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.core.partitioners import java_murmur2
from flowmachine.participants import EmbeddedTransport, Event, Participant
from flowmachine.participants.participant import Command
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.log import OutputRecord
from flowmachine.wire.message import decode_message
from flowmachine.wire.record import decode_head
from tests.support.engines import assert_audit_is_clean
from tests.support.kills import kill_and_restart
from tests.support.orders import COMMANDS, STEPS, order_document

pytestmark = pytest.mark.slow

SAGAS = 100_000
SAGAS_PER_APPEND = 1000
INTAKE, STATE, UNMATCHED = (f"flowmachine.orders.{name}" for name in ("intake", "sagas", "unmatched"))
_POLL_SECONDS = 1.0


@asynccontextmanager
async def running_participants(path: Path) -> AsyncGenerator[None]:
    def answer(event: str) -> object:
        async def handle(_: Command) -> Event:
            return Event(event, {event: True})

        return handle

    participant = Participant({command: answer(event) for command, event in STEPS})  # type: ignore[misc]
    run = asyncio.create_task(participant.run(EmbeddedTransport(path, ["commands"], "events", "services")))
    try:
        yield
    finally:
        run.cancel()
        (result,) = await asyncio.gather(run, return_exceptions=True)
        if isinstance(result, Exception):
            raise result


async def create_sagas(client: EmbeddedClient, count: int) -> list[bytes]:
    keys = [f"saga-{number:06d}".encode() for number in range(count)]
    for start in range(0, count, SAGAS_PER_APPEND):
        await client.produce(
            [
                OutputRecord(
                    INTAKE,
                    key,
                    encode_creation(Creation(key.decode(), {"order": key.decode()})),
                    java_murmur2(key, 4),
                    CREATE_HEADERS,
                )
                for key in keys[start : start + SAGAS_PER_APPEND]
            ]
        )
    return keys


async def finished(client: EmbeddedClient) -> Counter[str]:
    heads = [decode_head(record.value) for record in await client.read_all(STATE) if record.value]
    return Counter(head.current_state for head in heads if head.is_final)


async def wait_until_finished(client: EmbeddedClient, sagas: int, *, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while (await finished(client)).total() < sagas:
        assert time.monotonic() < deadline, f"only {await finished(client)} after {timeout_seconds:.0f} s"
        await asyncio.sleep(_POLL_SECONDS)


@pytest.mark.timeout(900)
async def test_every_saga_completes_exactly_once_while_the_embedded_engine_is_killed(tmp_path: Path) -> None:
    channel = {
        "inputTopics": ["events"],
        "outputTopics": ["commands"],
        "brokers": ["unused:9092"],
        "consumerGroup": "g",
    }
    file = tmp_path / "orders.yaml"
    file.write_text(yaml.safe_dump(order_document("orders", {"kafka": channel})))
    engine = EngineProcess(file, "--embedded", "--data-dir", str(tmp_path))
    path = tmp_path / "orders.db"
    try:
        await asyncio.to_thread(engine.start)
        async with EmbeddedClient(path) as client, running_participants(path):
            stop = asyncio.Event()
            killer = asyncio.create_task(kill_and_restart(engine, stop))
            keys = await create_sagas(client, SAGAS)
            await wait_until_finished(client, SAGAS, timeout_seconds=800)
            stop.set()
            assert await killer >= 3
            assert await finished(client) == {"delivered": SAGAS}
            labels: defaultdict[bytes, list[str]] = defaultdict(list)
            for record in await client.read_all("commands"):
                labels[record.key or b""].append(decode_message(record.value).message_label)
            wrong = {key: labels.get(key) for key in keys if labels.get(key) != COMMANDS}
            assert not wrong, f"commands lost, doubled or out of order: {dict(list(wrong.items())[:5])}"
            assert len(labels) == SAGAS
            assert await client.read_all(UNMATCHED) == []
    finally:
        engine.close()
    await assert_audit_is_clean(file, SAGAS, "--embedded", "--data-dir", str(tmp_path))
