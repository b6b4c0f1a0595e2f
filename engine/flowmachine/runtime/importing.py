"""Brings sagas into a home partition, as its owner: opening it fences whoever had it, so no engine is raced.

An engine that runs meanwhile loses the partition, waits (`partition_task.FENCED_PAUSE_SECONDS`), opens it again, and
reads what was written here as it would read what another engine wrote. An idle one would not notice: a record in the
intake makes it commit (`wire.intake.REREAD_HEADERS`). If an engine comes back before all is written, it is
this importer that is fenced: what it has committed stays, and the partition is opened once more.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import aclosing
from typing import Final

from flowmachine.errors import FencedError, TransientError
from flowmachine.partition.importing import WRITTEN, ImportOutcome, judge_import, mark_imported
from flowmachine.ports import Log, PartitionLog, Topics, Transaction
from flowmachine.wire.intake import REREAD_HEADERS, REREAD_VALUE
from flowmachine.wire.log import OutputRecord

RECORDS_PER_TRANSACTION_MAX: Final = 500
BYTES_PER_TRANSACTION_MAX: Final = 4 * 1024 * 1024
"""A transaction holds back readers of the topic until it ends: it is kept to a fraction of a second."""
ATTEMPTS_MAX: Final = 5
_PAUSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)

Brought = Iterable[tuple[bytes, bytes]]
"""Keys and records."""


async def import_partition(
    log: Log,
    topics: Topics,
    partition: int,
    read_brought: Callable[[], Brought],
    report: Callable[[ImportOutcome, str], None],
) -> None:
    """Bring sagas, all of this partition, each unless what is here has gone as far; then `report` each of them.

    `read_brought` is called again when the partition has to be opened again. Raises FencedError when engines take the
    partition back all the time, TransientError when the log stays away; doing it all again is harmless.
    """
    outcomes: dict[bytes, ImportOutcome] = {}
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            opened = await log.open_partition(partition)
            try:
                await _bring(opened, topics, partition, read_brought, outcomes)
            finally:
                await opened.close()
            break
        except (FencedError, TransientError) as error:
            if attempt == ATTEMPTS_MAX:
                raise
            _log.warning("a partition is opened again", extra={"partition": partition, "reason": str(error)})
            await asyncio.sleep(_PAUSE_SECONDS)
    if not WRITTEN.isdisjoint(outcomes.values()):
        await log.append_intake([OutputRecord(topics.intake, None, REREAD_VALUE, partition, REREAD_HEADERS)])
    for key, outcome in outcomes.items():
        report(outcome, key.decode())


async def _bring(
    opened: PartitionLog,
    topics: Topics,
    partition: int,
    read_brought: Callable[[], Brought],
    outcomes: dict[bytes, ImportOutcome],
) -> None:
    here = await _read_here(opened, {key for key, _ in read_brought()})
    for chunk in _chunks(read_brought()):
        judged: dict[bytes, ImportOutcome] = {}
        written: dict[bytes, bytes] = {}
        for key, exported in chunk:
            brought = mark_imported(exported)
            outcome = judged[key] = judge_import(written.get(key, here.get(key)), brought)
            if outcome in WRITTEN:
                written[key] = brought
        for key, outcome in judged.items():
            # Before the commit: if it is not known what became of it, a repeated attempt finds what this one wrote.
            if outcomes.get(key) not in WRITTEN or outcome is not ImportOutcome.UNCHANGED:
                outcomes[key] = outcome
        if written:
            records = [OutputRecord(topics.sagas, key, brought, partition) for key, brought in written.items()]
            await opened.commit(Transaction(records, {}))
        here |= written


async def _read_here(opened: PartitionLog, keys: Set[bytes]) -> dict[bytes, bytes]:
    """The records that the partition has of these sagas."""
    here: dict[bytes, bytes] = {}
    async with aclosing(opened.restore(0)) as batches:
        async for records in batches:
            for record in records:
                if record.key in keys and record.key is not None:
                    if record.value:
                        here[record.key] = record.value
                    else:
                        here.pop(record.key, None)
            await asyncio.sleep(0)
    return here


def _chunks(brought: Brought) -> Iterator[list[tuple[bytes, bytes]]]:
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for key, record in brought:
        chunk.append((key, record))
        size += len(record)
        if len(chunk) == RECORDS_PER_TRANSACTION_MAX or size >= BYTES_PER_TRANSACTION_MAX:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
