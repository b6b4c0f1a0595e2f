"""A hook throws on a running engine: its sagas are held, through a restart, until a corrected machine is there."""

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev.engine_process import EngineProcess
from flowmachine.cli.main import main
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker, read_all
from tests.support.orders import (
    FinalStates,
    Orders,
    assert_exactly_once,
    create_sagas,
    prepare_orders,
    read_commands,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ORDERS = 6
HELD = ORDERS // 2
THROWS = """export default ({ saga }) => {
  if (Number(saga.sagaId.slice(-1)) % 2) throw new Error('no stock for ' + saga.sagaId);
  return { payload: { order: saga.sagaId, by: 'first' } };
};"""
CORRECTED = "export default ({ saga }) => ({ payload: { order: saga.sagaId, by: 'second' } });"


def write_hook(file: Path, source: str) -> None:
    """The command of the state `paid` has this hook."""
    document = yaml.safe_load(file.read_text("utf-8"))
    document["spec"]["machine"]["states"][1]["outputCommand"]["hook"] = {"content": source}
    file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def get(engine: EngineProcess, path: str) -> bytes:
    with urllib.request.urlopen(f"{engine.url}{path}", timeout=10) as response:  # noqa: S310 - our own child
        answer: bytes = response.read()
    return answer


def metric(engine: EngineProcess, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(get(engine, "/-/metrics").decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def saga(engine: EngineProcess, saga_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(engine, f"/sagas/{saga_id}"))
    return found


async def payloads(orders: Orders, label: str) -> dict[str, Any]:
    """What this command had for each saga."""
    messages = [
        ((each.key or b"").decode(), json.loads(each.value or b""))
        for each in await read_all(orders.bootstrap, orders.commands)
    ]
    return {key: message["messagePayload"] for key, message in messages if message["messageLabel"] == label}


async def expect_held(engine: EngineProcess, ids: list[str]) -> None:
    """All of them, and no others, with the reason."""
    await eventually(lambda: metric(engine, "flowmachine_sagas_held", state="paid") == len(ids), "they are held")
    assert metric(engine, "flowmachine_sagas_held") == len(ids)
    for saga_id in ids:
        found = saga(engine, saga_id)
        assert (found["currentState"], found["hold"]["command"]) == ("paid", "prepareOrder")
        assert f"no stock for {saga_id}" in found["hold"]["reason"]


async def audit(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, int]]:
    """No findings, with the hooks run again: how many sagas are verified, and why others cannot be."""
    code = await asyncio.to_thread(main, ["audit", "-f", str(file), "--output", "json"])
    report = json.loads(capsys.readouterr().out)
    assert (code, report["findings"], report["sagas"]) == (0, [], ORDERS)
    return report["verified"], {each["reason"]: each["count"] for each in report["notVerifiable"]}


@pytest.mark.timeout(240)
async def test_saga_held_for_its_hook_goes_on_with_a_corrected_machine(
    kafka_broker: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, event_partitions=1, command_partitions=1)
    write_hook(orders.file, THROWS)
    engine = EngineProcess(orders.file)
    finals = FinalStates(orders)
    try:
        await asyncio.to_thread(engine.start)
        async with running_participants(orders):
            ids = await create_sagas(orders, ORDERS, partitions=1)
            held, others = ids[1::2], ids[::2]
            await finals.wait_for(others, timeout_seconds=60)
            await expect_held(engine, held)
            assert metric(engine, "flowmachine_hooks_failed_total", state="paid", command="prepareOrder") == HELD
            assert await audit(orders.file, capsys) == (ORDERS, {})

            await asyncio.to_thread(engine.terminate)
            await asyncio.to_thread(engine.start)
            await expect_held(engine, held)
            labels = await read_commands(orders, None)
            assert {saga_id: labels[saga_id] for saga_id in held} == {saga_id: ["executePayment"] for saga_id in held}

            await asyncio.to_thread(engine.terminate)
            first = orders.file.rename(tmp_path / "first.yaml")
            orders.file.write_text(first.read_text("utf-8"), "utf-8")
            write_hook(orders.file, CORRECTED)
            await asyncio.to_thread(engine.start)
            await finals.wait_for(ids, timeout_seconds=60)
            assert metric(engine, "flowmachine_sagas_held") == 0
            assert "hold" not in {name for name, value in saga(engine, held[0]).items() if value}
    finally:
        engine.close()
    await assert_exactly_once(orders, ids, finals)
    assert await payloads(orders, "prepareOrder") == {
        **{saga_id: {"order": saga_id, "by": "first"} for saga_id in others},
        **{saga_id: {"order": saga_id, "by": "second"} for saga_id in held},
    }
    assert await audit(first, capsys) == (ORDERS - HELD, {"revision": HELD})
    assert await audit(orders.file, capsys) == (0, {"hook": HELD, "revision": HELD})
