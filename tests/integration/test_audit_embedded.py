"""`flowmachine audit` on the file that a real engine has left: clean as it is, and not once a row is tampered with."""

# ruff: noqa: S608 - the statements are these tests' own

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.cli.main import main
from flowmachine.participants.embedded import EmbeddedTransport
from flowmachine.participants.participant import Command, Event, Participant
from flowmachine.wire.log import OutputRecord
from flowmachine.wire.message import encode_message
from tests.integration.test_cli_run_embedded import EXAMPLE, SECONDS_MAX, ended, running

ORDERS = 5
ANSWERS = {"executePayment": "paymentExecuted", "prepareOrder": "orderPrepared", "deliverOrder": "orderDelivered"}


async def run_orders(folder: Path) -> list[str]:
    """Some orders from end to end, with late events and one without a key; the engine is stopped in order."""
    shop = Participant()

    async def answer(command: Command) -> Event:
        return Event(ANSWERS[command.label], {"paymentId": "p1"})

    for label in ANSWERS:
        shop.on(label)(answer)
    path = folder / "data/orders.db"
    ids: list[str] = []
    async with running(folder) as (process, url), aiohttp.ClientSession() as session:
        service = asyncio.create_task(
            shop.run(EmbeddedTransport(path, ["orders-commands"], "orders-events", group="shop"))
        )
        try:
            for number in range(ORDERS):
                body = {"associatedEntityId": f"order-{number}", "metadata": {"number": number}}
                async with session.post(f"{url}/saga", json=body) as created:
                    ids.append((await created.json())["sagaId"])
            async with asyncio.timeout(SECONDS_MAX):
                while not await all_final(session, url, ids):
                    pass
            async with EmbeddedClient(path) as client:
                stray = [(ids[0].encode(), "early"), (ids[0].encode(), "unheard"), (None, "early")]
                await client.produce([OutputRecord("orders-events", key, encode_message(e, {})) for key, e in stray])
                async with asyncio.timeout(SECONDS_MAX):
                    while not await kept(client, 3):
                        pass
        finally:
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0
    return ids


async def all_final(session: aiohttp.ClientSession, url: str, ids: list[str]) -> bool:
    answers = [await (await session.get(f"{url}/sagas/{saga_id}")).json() for saga_id in ids]
    return all(answer.get("isFinal") for answer in answers)


async def kept(client: EmbeddedClient, number: int) -> bool:
    return len(await client.read_all("flowmachine.orders.unmatched")) >= number


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("audit")
    ids = asyncio.run(run_orders(folder))
    return folder / "data/orders.db", ids


@pytest.fixture
def data_dir(recorded: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    with sqlite3.connect(recorded[0]) as source, sqlite3.connect(tmp_path / "orders.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
    return tmp_path


def audit(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    arguments = ["audit", "-f", str(EXAMPLE), "--embedded", "--data-dir", str(data_dir), "--output", "json"]
    code = main(arguments)
    return code, json.loads(capsys.readouterr().out)


def tamper(data_dir: Path, statement: str, topic: str, *values: object) -> None:
    """Run a statement whose `:topic` stands for the condition "is a record of the topic"."""
    condition = (
        "(position >> 40) IN (SELECT partitions.id FROM partitions JOIN topics ON topics.id = topic_id "
        f"WHERE name = '{topic}')"
    )
    with sqlite3.connect(data_dir / "orders.db") as connection:
        changed = connection.execute(statement.replace(":topic", condition), values).rowcount
    connection.close()
    assert changed == 1


ONE = "position = (SELECT max(position) FROM records WHERE :topic AND CAST(value AS TEXT) LIKE '%{}%')"


def test_a_real_run_is_clean(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = audit(data_dir, capsys)
    assert (code, report["findings"]) == (0, [])
    assert report["isClean"]
    assert (report["sagas"], report["verified"], report["notVerifiable"]) == (ORDERS, ORDERS, [])
    assert report["commands"] == ORDERS * len(ANSWERS)


def test_text_says_the_same(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["audit", "-f", str(EXAMPLE), "--embedded", "--data-dir", str(data_dir)]
    assert main(arguments) == 0
    assert f"{ORDERS} sagas: {ORDERS} verified, 0 not verifiable; 0 findings" in capsys.readouterr().out
    tamper(data_dir, f"DELETE FROM records WHERE {ONE.format('deliverOrder')}", "orders-commands")
    assert main(arguments) == 1
    assert "command-missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "topic", "kind"),
    [
        (f"DELETE FROM records WHERE {ONE.format('prepareOrder')}", "orders-commands", "command-missing"),
        (
            f"UPDATE records SET value = CAST(replace(value, 'p1', 'p2') AS BLOB) WHERE {ONE.format('deliverOrder')}",
            "orders-commands",
            "command-differs",
        ),
        (
            f"UPDATE records SET value = CAST(replace(value, '\"number\":', '\"number\":1') AS BLOB) WHERE "
            f"{ONE.format('delivered')}",
            "flowmachine.orders.sagas",
            "record-differs",
        ),
        (f"DELETE FROM records WHERE {ONE.format('delivered')}", "flowmachine.orders.sagas", "record-missing"),
        (f"DELETE FROM records WHERE {ONE.format('unheard')}", "flowmachine.orders.unmatched", "input-lost"),
    ],
)
def test_tampered_rows_are_found(
    data_dir: Path, capsys: pytest.CaptureFixture[str], statement: str, topic: str, kind: str
) -> None:
    tamper(data_dir, statement, topic)
    code, report = audit(data_dir, capsys)
    assert code == 1
    assert [finding["kind"] for finding in report["findings"]] == [kind]


def test_an_event_that_the_engine_has_skipped(
    recorded: tuple[Path, list[str]], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its offset is committed without it: what an engine that commits first and works later would leave."""

    async def create() -> None:
        async with EmbeddedClient(data_dir / "orders.db") as client:
            value = b'{"associatedEntityId":"lost","metadata":{}}'
            headers = (("flowmachine-input", b"create"),)
            await client.produce([OutputRecord("flowmachine.orders.intake", b"lost-order", value, headers=headers)])

    asyncio.run(create())
    code, report = audit(data_dir, capsys)
    assert (code, report["pendingInputs"]) == (0, 1)
    with sqlite3.connect(data_dir / "orders.db") as connection:
        connection.execute(
            "UPDATE group_offsets SET next_offset = (SELECT next_offset FROM partitions WHERE id = partition_id)"
        )
    connection.close()
    code, report = audit(data_dir, capsys)
    assert code == 1
    assert [(f["kind"], f["sagaId"]) for f in report["findings"]] == [("input-lost", "lost-order")]
    assert report["findings"][0]["where"].startswith("flowmachine.orders.intake/")


def test_inputs_that_are_gone_are_not_missed(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(data_dir / "orders.db") as connection:
        connection.execute(
            "DELETE FROM records WHERE compacted_partition IS NULL AND (position >> 40) IN (SELECT partitions.id "
            "FROM partitions JOIN topics ON topics.id = topic_id WHERE name IN ('orders-events', 'orders-commands'))"
        )
    connection.close()
    code, report = audit(data_dir, capsys)
    assert (code, report["findings"], report["verified"]) == (0, [], 0)
    assert [(each["reason"], each["count"]) for each in report["notVerifiable"]] == [("retention", ORDERS)]


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ["audit", "-f", str(EXAMPLE), "--embedded", "--data-dir", str(tmp_path / "nowhere")]
    assert main(missing) == 2
    assert "no engine has run there" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    assert main(["audit", "-f", str(tmp_path / "no.yaml"), "--embedded"]) == 2
    assert main(["audit", "-f", str(EXAMPLE), "--embedded", "--data-dir", sys.executable]) == 2
