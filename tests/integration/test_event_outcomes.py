"""`throwOnUnexpectedEvents` and bearer tokens with two engines: any tells what became of an event."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.engine_process import EngineProcess
from tests.support.kafka import KafkaBroker
from tests.support.orders import prepare_orders

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TOKEN = {"Authorization": "Bearer engine-token"}


async def post(url: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        return response.status, await response.json()


async def get(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, await response.json()


def event(saga_id: str, label: str) -> dict[str, Any]:
    return {"key": saga_id, "value": {"messageLabel": label, "messagePayload": {}}}


@pytest.mark.timeout(240)
async def test_any_engine_tells_what_became_of_an_event(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("engine-token\n")
    orders = await prepare_orders(
        kafka_broker.bootstrap,
        tmp_path,
        throwOnUnexpectedEvents=True,
        http={"tokens": [{"file": str(tmp_path / "token")}]},
    )
    engines = [EngineProcess(orders.file) for _ in range(2)]
    try:
        for engine in engines:
            await asyncio.to_thread(engine.start)
        asked, other = engines
        assert (await post(f"{asked.url}/event", event("nobody", "paymentExecuted"), {}))[0] == 401
        for number in range(8):  # home partitions of both engines
            status, created = await post(
                f"{asked.url}/saga", {"associatedEntityId": f"order-{number}", "metadata": {}}, TOKEN
            )
            assert status == 200
            saga_id = created["sagaId"]
            status, answer = await post(f"{asked.url}/event", event(saga_id, "orderDelivered"), TOKEN)
            assert (status, "does not list event 'orderDelivered'" in answer["message"]) == (409, True)
            assert await post(f"{asked.url}/event", event(saga_id, "paymentExecuted"), TOKEN) == (200, {})
            assert await post(f"{other.url}/event", event(saga_id, "paymentExecuted"), TOKEN) == (
                200,
                {},
            )  # a duplicate
            status, saga = await get(f"{other.url}/sagas/{saga_id}", TOKEN)
            assert (status, saga["currentState"]) == (200, "paid")
        assert (await post(f"{other.url}/event", event("nobody", "paymentExecuted"), TOKEN))[0] == 404
        owned = [
            (await get(f"{engine.url}/-/check-up", {}))[1]["partitions"] for engine in engines
        ]  # both have some, so some events were asked about across
        assert all(owned)
        assert not any("engine-token" in engine.log_path.read_text() for engine in engines)
    finally:
        for engine in engines:
            engine.close()
