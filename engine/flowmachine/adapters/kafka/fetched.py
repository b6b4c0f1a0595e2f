"""How an engine gets at the records that aiokafka has fetched: many at once, and made of what engines look at.

aiokafka makes them one by one, through two generators and with four fields more: a tenth of an engine's time.
What is read stays the same: not what was aborted, no control batches, nothing from before the position
(`test_kafka_fetched.py` reads aiokafka's own way beside it).
"""

from collections.abc import Iterator
from itertools import chain, dropwhile, islice
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException

from flowmachine.wire.log import StoredRecord

# ruff: noqa: SLF001 - what is looked into here has no public name


def read_lean_records() -> None:
    """Make the consumers of this process read this way.

    For processes that are ours alone: nobody asks deserializers, and only `getmany` gives out records.
    """
    setattr(PartitionRecords, "_unpack_records", _unpack)  # noqa: B010
    setattr(FetchResult, "getall", _take)  # noqa: B010


def _take(result: Any, max_records: int | None = None) -> list[StoredRecord]:
    """Up to so many records; the consumer's position is then behind them."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    topic, partition = result._topic_partition
    fetched = result._partition_records
    taken = [
        StoredRecord(
            topic,
            partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(headers) if (headers := record.headers) else (),
        )
        for record in islice(fetched._records_iterator, max_records)
    ]
    if taken:
        fetched.next_fetch_offset = max(fetched.next_fetch_offset, taken[-1].offset + 1)
    result._update_position()
    if max_records is None or len(taken) < max_records:
        result._partition_records = None
    return taken


def _unpack(fetched: Any) -> Iterator[Any]:
    """All records of a fetch from the position on, as they stand in their batches."""
    position = fetched.next_fetch_offset
    records = chain.from_iterable(_readable_batches(fetched))
    return dropwhile(lambda record: record.offset < position, records)


def _readable_batches(fetched: Any) -> Iterator[Any]:
    while fetched._records.has_next():
        batch = fetched._records.next_batch()
        if fetched._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {fetched._tp}")
        if not _is_aborted(fetched, batch) and not batch.is_control_batch:
            yield batch
        # Behind the batch, whatever compaction has left of it: from here on is fetched next.
        fetched.next_fetch_offset = batch.next_offset


def _is_aborted(fetched: Any, batch: Any) -> bool:
    """Whether a batch is of an aborted transaction; looks at all batches, to know which transactions those are."""
    if fetched._isolation_level != READ_COMMITTED or batch.producer_id is None:
        return False
    fetched._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and fetched._contains_abort_marker(batch):
        fetched._aborted_producers.discard(batch.producer_id)
    return bool(batch.is_transactional) and batch.producer_id in fetched._aborted_producers
