"""How an engine gets at the records that aiokafka has fetched: many at once, and made of what engines look at.

aiokafka makes them one by one, through two generators and with four fields more: a tenth of an engine's time. Sources
take a fetch as a whole, whose records are made when they are needed (`wire/log.py`).
What is read stays the same: not what was aborted, no control batches, nothing from before the position
(`test_kafka_fetched.py` reads aiokafka's own way beside it).
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, dropwhile, islice, starmap
from operator import attrgetter
from typing import Any, Final, final

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException

from flowmachine.adapters.kafka.errors import translated
from flowmachine.wire.log import Fetch, InputRecord, StoredRecord

WHOLE: Final = sys.maxsize
"""As `max_records` of `getmany`: a `WholeFetch` of all that has come."""

_fields = attrgetter("offset", "timestamp", "key", "value", "headers")
"""Of a record as aiokafka reads it, in the order of a `StoredRecord`'s."""

# ruff: noqa: SLF001 - what is looked into here has no public name


def read_lean_records() -> None:
    """Make the consumers of this process read this way.

    For processes that are ours alone: nobody asks deserializers, and only `getmany` gives out records.
    """
    setattr(PartitionRecords, "_unpack_records", _unpack)  # noqa: B010
    setattr(FetchResult, "getall", _take)  # noqa: B010


@final
class WholeFetch(Fetch):
    """All records of a partition that one answer of a broker has brought."""

    def __init__(self, place: tuple[str, int], batches: Iterable[Any], position: int, size: int) -> None:
        """`size`: bytes, as they came."""
        self._place = place
        unread = deque(batches)
        count = sum(batch.next_offset - max(batch.base_offset, position) for batch in unread)
        # `_release` must not know this fetch: in a circle both would stay until the garbage collector comes by.
        super().__init__(_as_stored(place, _from(position, chain.from_iterable(_release(unread)))), count, size)

    def __len__(self) -> int:
        """How many records, at most: compaction may have taken some out of their batches."""
        return self.count

    def take(self, count_max: int) -> list[InputRecord]:
        """As any fetch; bytes that are no records raise TransientError."""
        with translated("reading {}/{}".format(*self._place)):
            return super().take(count_max)


def _release(batches: deque[Any]) -> Iterator[Any]:
    while batches:  # one that has been read has unpacked itself, and must not stay
        yield batches.popleft()


def as_fetch(records: Fetch | Sequence[InputRecord]) -> Fetch:
    """What `getmany` has given; a list where `read_lean_records` was not called."""
    return records if isinstance(records, Fetch) else Fetch.of(records)


def _take(result: Any, max_records: int | None = None) -> Sequence[StoredRecord] | WholeFetch:
    """Up to so many records; the consumer's position is then behind them."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    if max_records == WHOLE:
        return _take_whole(result)
    fetched = result._partition_records
    taken = list(_as_stored(result._topic_partition, islice(fetched._records_iterator, max_records)))
    if taken:
        fetched.next_fetch_offset = max(fetched.next_fetch_offset, taken[-1].offset + 1)
    result._update_position()
    if max_records is None or len(taken) < max_records:
        result._partition_records = None
    return taken


def _take_whole(result: Any) -> Sequence[StoredRecord] | WholeFetch:
    fetched = result._partition_records
    position = fetched.next_fetch_offset
    batches = list(_readable_batches(fetched))
    result._update_position()
    result._partition_records = None
    size = fetched._records.size_in_bytes()
    return WholeFetch(result._topic_partition, batches, position, size) if batches else []


def _as_stored(place: tuple[str, int], records: Iterable[Any]) -> Iterator[StoredRecord]:
    return starmap(partial(StoredRecord, *place), map(_fields, records))


def _unpack(fetched: Any) -> Iterator[Any]:
    """All records of a fetch from the position on, as they stand in their batches."""
    return _from(fetched.next_fetch_offset, chain.from_iterable(_readable_batches(fetched)))


def _from(position: int, records: Iterable[Any]) -> Iterator[Any]:
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
