"""A real engine on a real broker serves what its dashboard and its alerts ask for."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer

from dev.engine_process import EngineProcess
from flowmachine.wire.message import encode_message
from tests.support.engines import metric_total
from tests.support.eventually import eventually
from tests.support.http_servers import served
from tests.support.kafka import KafkaBroker, produce, unique_name
from tests.support.orders import Orders, create_sagas, prepare_orders, send_preparations_over_http

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@asynccontextmanager
async def endpoint(status: int) -> AsyncGenerator[int]:
    """An HTTP endpoint that answers everything with `status`; gives its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with served(application) as port:
        yield port


@pytest.mark.timeout(240)
async def test_latency_lag_and_outbox_of_a_real_engine(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, rest={"attemptsMax": 2})
    async with endpoint(500) as port:
        send_preparations_over_http(orders, port)
        engine = EngineProcess(orders.file)
        try:
            await asyncio.to_thread(engine.start)
            ids = await create_sagas(orders, 3)
            paid = encode_message("paymentExecuted", {})
            await produce(orders.bootstrap, orders.events, [(i.encode(), paid, None, []) for i in ids])
            await eventually(
                lambda: metric_total(engine, "flowmachine_outbox", channel="kitchen", waits_for="person") == 3,
                "the commands of all three sagas wait for a person",
                timeout_seconds=60,
            )
            assert metric_total(engine, "flowmachine_transition_seconds_count") == 6
            assert metric_total(engine, "flowmachine_transition_seconds_bucket", le="300.0") == 6
            await watch_lag(orders, engine, ids)
        finally:
            engine.close()


async def watch_lag(orders: Orders, engine: EngineProcess, ids: list[str]) -> None:
    """Events in a transaction that is not over wait before the engine, and do not once it is."""

    def lag() -> float:
        return metric_total(engine, "flowmachine_input_lag")

    producer = AIOKafkaProducer(bootstrap_servers=orders.bootstrap, transactional_id=unique_name("service"))
    await producer.start()
    try:
        await producer.begin_transaction()
        for saga_id in ids:
            await producer.send_and_wait(orders.events, encode_message("unheardOf", {}), key=saga_id.encode())
        await eventually(lambda: lag() == len(ids), "the lag is seen", timeout_seconds=60)
        await producer.commit_transaction()
        await eventually(
            lambda: (metric_total(engine, "flowmachine_inputs_total", outcome="unexpected"), lag()) == (len(ids), 0),
            "the events have been handled, and nothing is left",
            timeout_seconds=60,
        )
    finally:
        await producer.stop()
