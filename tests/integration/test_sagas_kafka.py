"""Lists over several engines, and a move of sagas to another machine whose engine runs, on a real broker."""

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.engine_process import EngineProcess
from flowmachine.cli.main import main
from flowmachine.wire.message import encode_message
from tests.support.engines import assert_audit_is_clean
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker, produce
from tests.support.orders import (
    COMMANDS,
    STEPS,
    FinalStates,
    create_sagas,
    prepare_orders,
    read_commands,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SAGAS = 300


async def read_list(url: str, **query: str) -> list[str]:
    """All pages; an engine that is rebalancing is asked again."""
    ids: list[str] = []
    cursor: str | None = None
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            asked = {**query, "limit": "37", **({} if cursor is None else {"cursor": cursor})}
            async with session.get(f"{url}/sagas", params=asked) as response:
                if response.status == 503:
                    await asyncio.sleep(float(response.headers["Retry-After"]))
                    continue
                assert response.status == 200, await response.text()
                page = await response.json()
            ids += [saga["sagaId"] for saga in page["sagas"]]
            cursor = page["nextCursor"]
            if cursor is None:
                return ids


async def sagas(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["sagas", *arguments])


@pytest.mark.timeout(240)
async def test_any_engine_lists_the_sagas_of_all(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    with ExitStack() as stack:
        first = EngineProcess(orders.file)
        stack.callback(first.close)
        await asyncio.to_thread(first.start)
        ids = await create_sagas(orders, SAGAS)
        second = EngineProcess(orders.file)
        stack.callback(second.close)
        await asyncio.to_thread(second.start)
        await wait_for_list(first.url, SAGAS)
        lists = [await read_list(engine.url) for engine in (first, second)]
        assert lists[0] == lists[1]
        assert sorted(lists[0]) == ids
        assert await read_list(second.url, entity=ids[7]) == [ids[7]]
        assert await read_list(second.url, finished="true") == []
        second.kill()
        await wait_for_list(first.url, SAGAS)
        assert await read_list(first.url) == lists[0]


async def wait_for_list(url: str, count: int) -> None:
    def is_whole() -> bool:
        return len(asyncio.run(read_list(url))) == count

    await eventually(is_whole, f"{count} sagas in the list of {url}", timeout_seconds=90)


@pytest.mark.timeout(300)
async def test_sagas_move_to_a_machine_whose_engine_runs_and_go_on_there(
    kafka_broker: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    new = await prepare_orders(kafka_broker.bootstrap, tmp_path, event_partitions=3, command_partitions=3)
    export = tmp_path / "sagas.jsonl"
    with ExitStack() as stack:
        before, after = EngineProcess(old.file), EngineProcess(new.file)
        for engine in (before, after):
            stack.callback(engine.close)
            await asyncio.to_thread(engine.start)
        ids = await create_sagas(old, SAGAS)
        own = await create_sagas(new, 50, prefix="own", partitions=3)
        await wait_for_list(before.url, SAGAS)
        await wait_for_list(after.url, len(own))
        assert await sagas("export", "-f", str(old.file), "-o", str(export)) == 0
        for expected in ({"added": SAGAS, "unchanged": 0}, {"added": 0, "unchanged": SAGAS}):
            capsys.readouterr()
            assert await sagas("import", "-f", str(new.file), str(export), "--output", "json") == 0
            counts: dict[str, Any] = json.loads(capsys.readouterr().out)["counts"]
            assert {name: counts[name] for name in expected} == expected
        await wait_for_list(after.url, SAGAS + len(own))
        # The commands of their states were sent where they come from; what follows is asked for here.
        paid = [(saga_id.encode(), encode_message(STEPS[0][1], {}), None, []) for saga_id in ids]
        await produce(new.bootstrap, new.events, paid)
        finals = FinalStates(new)
        async with running_participants(new):
            await finals.wait_for([*ids, *own], timeout_seconds=120)
        labels = await read_commands(new, None)
        assert {saga_id: labels[saga_id] for saga_id in ids} == dict.fromkeys(ids, COMMANDS[1:])
        assert {saga_id: labels[saga_id] for saga_id in own} == dict.fromkeys(own, COMMANDS)
        assert {saga_id: finals.by_saga[saga_id] for saga_id in ids} == {saga_id: {"delivered"} for saga_id in ids}
    await assert_audit_is_clean(new.file, len(own), elsewhere=len(ids))
