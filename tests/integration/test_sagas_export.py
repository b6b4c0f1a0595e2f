"""`flowmachine sagas export` and `import` on the embedded log: what they copy, and what they refuse."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.engine_process import EngineProcess
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.cli.main import main
from flowmachine.config.topic_names import OwnTopics
from flowmachine.core.partitioners import home
from flowmachine.partition.importing import ImportOutcome, mark_imported
from flowmachine.ports import Transaction
from flowmachine.runtime import importing
from flowmachine.runtime.importing import import_partition
from flowmachine.wire.log import OutputRecord
from flowmachine.wire.record import encode_saga
from tests.support.builders import order_machine, saga_after
from tests.support.orders import order_document

ORDERS = order_machine()
PATH = ("paymentExecuted", "orderPrepared", "orderDelivered")
CHANNEL = {
    "kafka": {"brokers": ["none:1"], "inputTopics": ["events"], "outputTopics": ["commands"], "consumerGroup": "g"}
}


def open_log(path: Path, *, home_partitions: int = 4, exclusive: bool = True) -> EmbeddedLog:
    """The log of the machine `orders` at `path`."""
    stem = "flowmachine.orders"
    return EmbeddedLog(
        path,
        names=OwnTopics(f"{stem}.intake", f"{stem}.sagas", f"{stem}.unmatched"),
        inputs=["events"],
        outputs=["commands"],
        group="g",
        home_partitions=home_partitions,
        exclusive=exclusive,
    )


async def fill(log: EmbeddedLog, records: Mapping[str, bytes | None]) -> None:
    topics = await log.start()
    for partition in range(topics.home_partitions):
        own = [key for key in records if home(key.encode(), topics.home_partitions) == partition]
        opened = await log.open_partition(partition)
        out = [OutputRecord(topics.sagas, key.encode(), records[key], partition) for key in own]
        await opened.commit(Transaction(out, {}))
        await opened.close()


async def read_sagas(log: EmbeddedLog) -> dict[str, bytes]:
    topics = await log.start()
    found: dict[str, bytes] = {}
    for partition in range(topics.home_partitions):
        opened = await log.open_partition(partition)
        async with aclosing(opened.restore(0)) as batches:
            async for batch in batches:
                for record in batch:
                    assert record.key is not None
                    assert home(record.key, topics.home_partitions) == partition
                    if record.value is not None:
                        found[record.key.decode()] = record.value
        await opened.close()
    return found


def order(count: int, **metadata: Any) -> bytes:
    return encode_saga(saga_after(ORDERS, *PATH[:count], metadata=metadata))


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    file = tmp_path / "orders.yaml"
    file.write_text(yaml.safe_dump(order_document("orders", CHANNEL)))
    return file


async def sagas(machine: Path, data: str, *arguments: str) -> int:
    folder = machine.parent / data
    return await asyncio.to_thread(
        main, ["sagas", *arguments, "-f", str(machine), "--embedded", "--data-dir", str(folder)]
    )


async def with_log(machine: Path, data: str, records: Mapping[str, bytes | None], homes: int = 4) -> None:
    (machine.parent / data).mkdir(exist_ok=True)
    log = open_log(machine.parent / data / "orders.db", home_partitions=homes)
    await fill(log, records)
    await log.stop()


async def sagas_in(machine: Path, data: str) -> dict[str, bytes]:
    log = open_log(machine.parent / data / "orders.db")
    try:
        return await read_sagas(log)
    finally:
        await log.stop()


async def test_everything_arrives_as_it_was_in_a_log_with_other_partitions(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = {f"order-{number}": order(number % 4, n=number) for number in range(1500)}
    await with_log(machine, "from", {**records, "forgotten": order(3)})
    await with_log(machine, "from", {"forgotten": None})
    await with_log(machine, "to", {}, homes=7)
    export = machine.with_name("sagas.jsonl")
    assert await sagas(machine, "from", "export", "-o", str(export)) == 0
    assert "1500 sagas of 4 home partitions exported" in capsys.readouterr().err
    assert len(export.read_bytes().splitlines()) == 1502
    for expected in ({"added": 1500, "unchanged": 0}, {"added": 0, "unchanged": 1500}):
        assert await sagas(machine, "to", "import", str(export), "--output", "json") == 0
        counts = json.loads(capsys.readouterr().out)["counts"]
        assert {name: counts[name] for name in expected} == expected
    assert await sagas_in(machine, "to") == {key: mark_imported(record) for key, record in records.items()}


async def test_newer_sagas_stay_and_others_are_brought_up_to_date(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await with_log(machine, "from", {key: order(2) for key in ("new", "behind", "same", "ahead")})
    here = {"behind": order(1), "same": order(2), "ahead": order(3), "untouched": order(0)}
    await with_log(machine, "to", here)
    export = machine.with_name("sagas.jsonl")
    assert await sagas(machine, "from", "export", "-o", str(export)) == 0
    capsys.readouterr()
    assert await sagas(machine, "to", "import", str(export)) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[1:5]] == [
        ["1", "added"],
        ["1", "replaced"],
        ["1", "unchanged"],
        ["1", "newer-here"],
    ]
    assert "ahead" in out
    assert await sagas_in(machine, "to") == here | {key: mark_imported(order(2)) for key in ("new", "behind")}


async def test_saga_of_another_past_is_a_conflict_and_stays(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await with_log(machine, "from", {"order-1": order(1)})
    other = encode_saga(saga_after(ORDERS, "paymentFailed"))
    await with_log(machine, "to", {"order-1": other})
    export = machine.with_name("sagas.jsonl")
    await sagas(machine, "from", "export", "-o", str(export))
    assert await sagas(machine, "to", "import", str(export)) == 1
    assert "conflict" in capsys.readouterr().out
    assert await sagas_in(machine, "to") == {"order-1": other}


DAMAGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "cut off": (lambda lines: lines[:-1], "the export was cut off"),
    "cut inside a line": (lambda lines: [*lines[:-2], lines[-2][:50]], "line 21: it is not a line of an export"),
    "a line is missing": (lambda lines: [*lines[:5], *lines[6:]], "has 19 sagas, and its last line says 20"),
    "a record is damaged": (
        lambda lines: [*lines[:3], lines[3].replace(b'"seq":', b'"seq":"x'), *lines[4:]],
        "line 4: it is not a line of an export",
    ),
    "another file": (lambda lines: [b"hello\n"], "no export of sagas"),
    "empty": (lambda lines: [], "no export of sagas"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damaged_export_changes_nothing(machine: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    await with_log(machine, "from", {f"order-{number}": order(1) for number in range(20)})
    await with_log(machine, "to", {})
    export = machine.with_name("sagas.jsonl")
    await sagas(machine, "from", "export", "-o", str(export))
    change, reason = DAMAGES[damage]
    export.write_bytes(b"".join(change(export.read_bytes().splitlines(keepends=True))))
    assert await sagas(machine, "to", "import", str(export)) == 1
    err = capsys.readouterr().err
    assert reason in err
    assert "nothing was imported" in err
    assert "Traceback" not in err
    assert await sagas_in(machine, "to") == {}


async def test_engine_of_the_embedded_log_must_be_stopped_for_an_import_and_not_for_an_export(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = EngineProcess(machine, "--embedded", "--data-dir", str(machine.parent / "data"))
    try:
        await asyncio.to_thread(engine.start)
        export = machine.with_name("sagas.jsonl")
        assert await sagas(machine, "data", "export", "-o", str(export)) == 0
        assert await sagas(machine, "data", "import", str(export)) == 1
        assert f"another engine (process {engine.pid}) runs on this file: stop it first" in capsys.readouterr().err
    finally:
        engine.close()


async def test_log_and_files_that_are_not_there_are_sentences(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await sagas(machine, "nowhere", "export", "-o", str(machine.with_name("sagas.jsonl"))) == 1
    assert "no engine has run there" in capsys.readouterr().err
    assert not list(machine.parent.glob("sagas*"))
    await with_log(machine, "data", {})
    assert await sagas(machine, "data", "export", "-o", str(machine.parent / "no/sagas.jsonl")) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    assert await sagas(machine, "data", "import", str(machine.with_name("sagas.jsonl"))) == 1
    assert "cannot be read: No such file or directory" in capsys.readouterr().err


async def test_owner_that_comes_back_meanwhile_fences_the_import_which_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "RECORDS_PER_TRANSACTION_MAX", 10)
    monkeypatch.setattr(importing, "_PAUSE_SECONDS", 0.0)
    log = open_log(tmp_path / "orders.db", home_partitions=1, exclusive=False)
    engine = open_log(tmp_path / "orders.db", home_partitions=1, exclusive=False)
    topics = await log.start()
    await engine.start()
    brought = [(f"order-{number:02d}".encode(), order(1)) for number in range(40)]
    reads, takeovers = 0, 3

    def read_brought() -> Any:
        nonlocal reads
        reads += 1
        is_second = reads % 2 == 0  # the first reading of an attempt is for the ids
        for number, entry in enumerate(brought):
            yield entry
            if is_second and number == 25 and takeovers:
                taking.set()

    taking = asyncio.Event()

    async def take_over() -> None:
        nonlocal takeovers
        while takeovers:
            await taking.wait()
            taking.clear()
            takeovers -= 1
            await (await engine.open_partition(0)).close()

    taker = asyncio.create_task(take_over())
    outcomes: dict[str, ImportOutcome] = {}
    await import_partition(log, topics, 0, read_brought, lambda outcome, key: outcomes.update({key: outcome}))
    taker.cancel()
    await asyncio.gather(taker, return_exceptions=True)
    assert takeovers < 3, "nobody took over: the test shows nothing"
    assert outcomes == {key.decode(): ImportOutcome.ADDED for key, _ in brought}
    assert await read_sagas(log) == {key.decode(): mark_imported(record) for key, record in brought}
    await engine.stop()
    await log.stop()
