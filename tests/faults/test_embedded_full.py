"""No room left for the embedded log's file: the engine says so, waits, and goes on when there is room."""

import asyncio
import resource
from pathlib import Path

import pytest
import yaml

from dev.engine_process import EngineProcess
from flowmachine.adapters.embedded.client import EmbeddedClient
from tests.faults.test_embedded_killed import create_sagas, running_participants, wait_until_finished
from tests.support.engines import assert_audit_is_clean
from tests.support.eventually import eventually
from tests.support.orders import order_document

pytestmark = pytest.mark.slow

SAGAS = 2000


@pytest.mark.timeout(240)
async def test_a_full_disk_is_waited_for_and_loses_nothing(tmp_path: Path) -> None:
    channel = {
        "inputTopics": ["events"],
        "outputTopics": ["commands"],
        "brokers": ["unused:9092"],
        "consumerGroup": "g",
    }
    file = tmp_path / "orders.yaml"
    file.write_text(yaml.safe_dump(order_document("orders", {"kafka": channel})))
    arguments = ("--embedded", "--data-dir", str(tmp_path))
    engine = EngineProcess(file, *arguments)
    path = tmp_path / "orders.db"
    try:
        await asyncio.to_thread(engine.start)
        async with EmbeddedClient(path) as client, running_participants(path):
            await create_sagas(client, SAGAS // 2)
            limit(engine, path.stat().st_size)
            await create_sagas(client, SAGAS)  # the same again, which are duplicates, and as many new ones
            await eventually(lambda: not engine.is_ready(), "it says that it cannot write", timeout_seconds=60)
            limit(engine, resource.RLIM_INFINITY)

            await eventually(engine.is_ready, "it goes on by itself", timeout_seconds=60)
            await wait_until_finished(client, SAGAS, timeout_seconds=120)
            assert engine.is_running
    finally:
        engine.close()
    await assert_audit_is_clean(file, SAGAS, *arguments)


def limit(engine: EngineProcess, file_bytes: int) -> None:
    """Let no file of the engine grow beyond this; writes then fail as they do on a full disk."""
    resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
