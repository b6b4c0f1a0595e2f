"""The embedded log when things break: processes killed, a full disk, a locked, damaged or foreign file, two engines."""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flowmachine.adapters.embedded import schema
from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.adapters.embedded.store import Store
from flowmachine.config.topic_names import OwnTopics
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import PartitionLog, Source, Transaction
from flowmachine.wire.log import OutputRecord

NAMES = OwnTopics(intake="intake", sagas="sagas", unmatched="unmatched")
WAIT_SECONDS = 30.0
KILLS = 10
ENGINE = Path(__file__).resolve().parents[2] / "engine"

# Appends numbers to the intake without end, and answers each with one command and a count in its saga.
COUNTING_ENGINE = """
import asyncio, sys
from pathlib import Path
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.config.topic_names import OwnTopics
from flowmachine.ports import Transaction
from flowmachine.wire.log import OutputRecord

async def append(log):
    number = await log.intake_end(0)
    while True:
        await log.append_intake([OutputRecord("intake", b"k", b"%d" % (number + n), 0) for n in range(3)])
        number += 3
        print("appended", number, flush=True)

async def answer(log):
    partition = await log.open_partition(0)
    count = 0
    async for batch in partition.restore(0):
        for record in batch:
            count = int(record.value)
    (source,) = partition.sources
    while True:
        records = (await source.fetch()).take(100_000)
        count += len(records)
        out = [OutputRecord("out", b"k", record.value, 0) for record in records]
        saga = OutputRecord("sagas", b"saga", b"%d" % count, 0)
        await partition.commit(Transaction([*out, saga], {("intake", 0): records[-1].offset + 1}))
        print("answered", count, flush=True)

async def main():
    names = OwnTopics("intake", "sagas", "unmatched")
    log = EmbeddedLog(Path(sys.argv[1]), names=names, inputs=(), outputs=("out",), group="g", home_partitions=1)
    await log.start()
    print("started", flush=True)
    await asyncio.gather(append(log), answer(log))

asyncio.run(main())
"""

# Appends numbers until its files may not grow any more, tells what it was told, and goes on once they may.
WRITER_AGAINST_A_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.errors import TransientError
from flowmachine.wire.log import OutputRecord

async def main():
    async with EmbeddedClient(Path(sys.argv[1])) as client:
        await client.create_topics(["in"], partitions=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        number = 0
        try:
            while number < 1_000:
                await client.produce([OutputRecord("in", b"k", b"%d" % number + b" " * 10_000, 0)])
                number += 1
        except TransientError as error:
            print(number, error, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await client.produce([OutputRecord("in", b"k", b"%d" % number, 0)])

asyncio.run(main())
"""

PRODUCER = """
import asyncio, sys
from pathlib import Path
from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.wire.log import OutputRecord

async def main():
    async with EmbeddedClient(Path(sys.argv[1])) as client:
        for number in range(int(sys.argv[2])):
            await client.produce([OutputRecord("in", b"k", b"%d" % number, 0)])

asyncio.run(main())
"""

ENGINE_THAT_WAITS = """
import asyncio, sys
from pathlib import Path
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.config.topic_names import OwnTopics

async def main():
    names = OwnTopics("intake", "sagas", "unmatched")
    log = EmbeddedLog(Path(sys.argv[1]), names=names, inputs=("in",), outputs=("out",), group="g")
    await log.start()
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def start_script(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ENGINE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


def make_log(path: Path, *, inputs: Sequence[str] = ("in",)) -> EmbeddedLog:
    return EmbeddedLog(path, names=NAMES, inputs=inputs, outputs=("out",), group="g", home_partitions=1)


def input_source(partition_log: PartitionLog) -> Source:
    (source,) = [source for source in partition_log.sources if source.topic == "in"]
    return source


async def all_values(path: Path, topic: str) -> list[bytes | None]:
    async with EmbeddedClient(path) as client:
        return [record.value for record in await client.read_all(topic)]


# --- killed processes -------------------------------------------------------------------------------------------------


def kill_somewhere(path: Path, draw: random.Random) -> tuple[int, int]:
    """Run the counting engine, kill it after some of its steps; the last numbers that it acknowledged."""
    acknowledged = {"appended": 0, "answered": 0}
    with start_script(COUNTING_ENGINE, str(path)) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == "started\n"
        for _ in range(draw.randrange(60)):
            what, number = engine.stdout.readline().split()
            acknowledged[what] = int(number)
        engine.send_signal(signal.SIGKILL)
        for line in engine.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                what, number = line.split()
                acknowledged[what] = int(number)
    assert engine.returncode == -signal.SIGKILL
    return acknowledged["appended"], acknowledged["answered"]


async def check_nothing_lost_or_doubled(path: Path, appended: int, answered: int) -> None:
    intake = await all_values(path, "intake")
    answers = await all_values(path, "out")
    assert intake == [b"%d" % number for number in range(len(intake))]
    assert len(intake) >= appended
    assert answers == intake[: len(answers)]
    assert len(answers) >= answered
    assert await all_values(path, "sagas") == ([b"%d" % len(answers)] if answers else [])


async def test_killed_engine_loses_and_doubles_nothing(path: Path) -> None:
    draw = random.Random(20_260_704)
    appended = answered = 0
    for _ in range(KILLS):
        newly_appended, newly_answered = await asyncio.to_thread(kill_somewhere, path, draw)
        appended, answered = max(appended, newly_appended), max(answered, newly_answered)
        await check_nothing_lost_or_doubled(path, appended, answered)
    assert answered > 0


# --- disk -------------------------------------------------------------------------------------------------------------


def limit_pages(store: Store, more: int) -> None:
    """Let the file grow by this many pages only; SQLite reports that as it reports a full disk."""
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages + more}")


async def test_full_disk_stops_a_commit_whole_and_passes(path: Path) -> None:
    log = make_log(path)
    await log.start()
    async with EmbeddedClient(path) as client:
        partition_log = await log.open_partition(0)
        await partition_log.commit(Transaction([OutputRecord("out", b"k", b"before", 0)], {("in", 0): 1}))
        await client.worker.read(lambda store: limit_pages(store, 10))
        large = [OutputRecord("out", b"k", b"lost" * 1_000, 0) for _ in range(100)]
        with pytest.raises(TransientError, match="disk is full"):
            await partition_log.commit(Transaction(large, {("in", 0): 2}))
        assert await all_values(path, "out") == [b"before"]
        assert await input_source(await log.open_partition(0)).position() == 1
        await client.worker.read(lambda store: limit_pages(store, 1_000_000))
        partition_log = await log.open_partition(0)
        await partition_log.commit(Transaction([OutputRecord("out", b"k", b"after", 0)], {("in", 0): 3}))
        assert await all_values(path, "out") == [b"before", b"after"]
    await log.stop()


async def test_file_that_cannot_grow_gives_a_sentence_and_nothing_half_written(path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with start_script(WRITER_AGAINST_A_LIMIT, str(path)) as writer:
        output, _ = await asyncio.to_thread(writer.communicate)
    assert writer.returncode == 0
    number, sentence = output.split(" ", 1)
    assert "could not be read or written" in sentence or "disk is full" in sentence
    numbers = [int(value or b"") for value in await all_values(path, "in")]
    assert numbers == list(range(int(number) + 1))


# --- other connections ------------------------------------------------------------------------------------------------


@pytest.fixture
def lock_holder(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


async def test_file_locked_for_long_is_a_transient_error(
    path: Path,
    lock_holder: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = make_log(path)
    await log.start()
    partition_log = await log.open_partition(0)
    transaction = Transaction([OutputRecord("out", b"k", b"v", 0)], {})
    monkeypatch.setattr(schema, "BUSY_SECONDS_MAX", 0.1)
    lock_holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError, match="kept the file locked"):
        await partition_log.commit(transaction)
    assert await all_values(path, "out") == []
    lock_holder.execute("COMMIT")
    await partition_log.commit(transaction)
    assert await all_values(path, "out") == [b"v"]
    await log.stop()


async def test_file_locked_for_a_moment_is_waited_for(path: Path, lock_holder: sqlite3.Connection) -> None:
    log = make_log(path)
    await log.start()
    partition_log = await log.open_partition(0)
    lock_holder.execute("BEGIN IMMEDIATE")
    commit = asyncio.ensure_future(partition_log.commit(Transaction([OutputRecord("out", b"k", b"v", 0)], {})))
    done, _ = await asyncio.wait({commit}, timeout=0.1)
    assert not done
    lock_holder.execute("COMMIT")
    async with asyncio.timeout(WAIT_SECONDS):
        await commit
    await log.stop()


async def test_records_of_another_process_wake_a_waiting_source(path: Path) -> None:
    log = make_log(path)
    await log.start()
    source = input_source(await log.open_partition(0))
    waiting = asyncio.ensure_future(source.fetch())
    with start_script(PRODUCER, str(path), "1") as producer:
        async with asyncio.timeout(WAIT_SECONDS):
            (record,) = (await waiting).take(10)
            await asyncio.to_thread(producer.wait)
    assert record.value == b"0"
    await log.stop()


async def test_two_processes_write_at_the_same_time(path: Path) -> None:
    count = 300
    log = make_log(path)
    await log.start()
    partition_log = await log.open_partition(0)
    source = input_source(partition_log)
    seen: list[bytes | None] = []
    with start_script(PRODUCER, str(path), str(count)) as producer:
        async with asyncio.timeout(WAIT_SECONDS):
            while len(seen) < count:
                records = (await source.fetch()).take(100_000)
                seen += [record.value for record in records]
                answers = [OutputRecord("out", b"k", record.value, 0) for record in records]
                await partition_log.commit(Transaction(answers, {("in", 0): records[-1].offset + 1}))
            await asyncio.to_thread(producer.wait)
    assert seen == [b"%d" % number for number in range(count)]
    assert await all_values(path, "out") == seen
    await log.stop()


async def test_second_engine_is_refused_with_the_first_one_s_process(path: Path) -> None:
    log = make_log(path)
    with start_script(ENGINE_THAT_WAITS, str(path)) as first:
        assert first.stdout is not None
        assert await asyncio.to_thread(first.stdout.readline) == "started\n"
        with pytest.raises(ConfigurationError, match=rf"process {first.pid}\) runs on this file: stop it first"):
            await log.start()
        await asyncio.to_thread(first.communicate, "")
    await log.start()
    await log.stop()


# --- files that are no log --------------------------------------------------------------------------------------------


async def failure_of_start(path: Path) -> str:
    log = make_log(path)
    with pytest.raises(ConfigurationError) as caught:
        await log.start()
    return str(caught.value)


def damage(path: Path, first: float) -> None:
    """Overwrite what comes after the first page and this part of the file."""
    content = bytearray(path.read_bytes())
    start = max(4096, int(len(content) * first))
    content[start:] = b"\xee" * (len(content) - start)
    path.write_bytes(content)


@pytest.fixture
async def filled(path: Path) -> Path:
    async with EmbeddedClient(path) as client:
        await client.create_topics(["in"], partitions=1)
        await client.produce([OutputRecord("in", b"k", b"v" * 1_000, 0) for _ in range(500)])
    return path


@pytest.fixture
def text_file(path: Path) -> Path:
    path.write_bytes(b"this is not a database, " * 500)
    return path


@pytest.fixture
def foreign(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    return path


async def test_file_that_is_no_database_is_refused(text_file: Path) -> None:
    assert "damaged or not a log" in await failure_of_start(text_file)


async def test_damaged_file_is_refused(filled: Path) -> None:
    damage(filled, 0.0)
    assert "damaged or not a log" in await failure_of_start(filled)


async def test_page_damaged_under_records_is_a_configuration_error(filled: Path) -> None:
    damage(filled, 0.5)
    with pytest.raises(ConfigurationError, match="damaged or not a log"):
        await all_values(filled, "in")


async def test_file_of_another_program_is_refused_and_left_alone(foreign: Path) -> None:
    before = await asyncio.to_thread(foreign.read_bytes)
    assert "another program" in await failure_of_start(foreign)
    assert await asyncio.to_thread(foreign.read_bytes) == before


async def test_file_of_a_newer_version_is_refused(path: Path) -> None:
    async with EmbeddedClient(path) as client:
        await client.create_topics(["in"])
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    connection.close()
    assert "newer FlowMachine" in await failure_of_start(path)


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "orders.db"
    assert "check that the folder exists" in await failure_of_start(missing)
    with pytest.raises(ConfigurationError, match="check that its folder exists"):
        await EmbeddedClient(missing).start()
