"""The file's operations, synchronous. One thread owns a `Store`: `worker.py` runs all of it there.

Methods that write (`append`, `commit`, ...) expect to be inside a transaction, which the worker opens and ends.
Every position and epoch is read from the file inside that transaction: other processes write to it as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

import msgspec

from flowmachine.adapters.embedded.rows import OFFSET_BITS, OFFSET_MASK, Cursor, insert_records, read_page
from flowmachine.adapters.embedded.schema import Synchronous, open_database
from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import ConfigurationError, FencedError, InvariantError
from flowmachine.ports import TopicPartition, Transaction
from flowmachine.wire.log import OutputRecord, StoredRecord, as_output, commands_as_output


@final
class StoredTopic(msgspec.Struct, frozen=True):
    """A topic; `partition_ids[n]` is the row of its partition n."""

    name: str
    is_compacted: bool
    partition_ids: tuple[int, ...]


@final
class ReadFrom(msgspec.Struct, frozen=True):
    """An operation for the thread: `Store.read` with its arguments."""

    cursor: Cursor
    records_max: int

    def __call__(self, store: "Store") -> list[StoredRecord]:
        """What an operation does: runs in the thread that owns the store."""
        return store.read(self.cursor, self.records_max)


@final
class Store:
    """An open file."""

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        self.connection = open_database(path, synchronous)
        self._topics: dict[str, StoredTopic] = {}
        self._appended: set[int] = set()

    def close(self) -> None:
        """Close the file; the last connection to it folds the WAL into it."""
        self.connection.close()

    def forget_topics(self) -> None:
        """Drop what was read inside a transaction that did not come to pass."""
        self._topics.clear()

    def take_appended(self) -> set[int]:
        """The partitions appended to since the last call."""
        appended, self._appended = self._appended, set()
        return appended

    def data_version(self) -> int:
        """A number that changes whenever another connection has written."""
        version: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    # Topics

    def create_topics(self, names: Iterable[str], *, partitions: int, is_compacted: bool) -> None:
        """Make the topics that are missing; one that is there keeps its partition count."""
        for name in names:
            found = self.connection.execute("SELECT compacted FROM topics WHERE name = ?", (name,)).fetchone()
            if found is None:
                added = self.connection.execute(
                    "INSERT INTO topics (name, compacted) VALUES (?, ?)",
                    (name, int(is_compacted)),
                )
                self.connection.executemany(
                    "INSERT INTO partitions (topic_id, partition) VALUES (?, ?)",
                    [(added.lastrowid, partition) for partition in range(partitions)],
                )
            elif is_compacted and not found[0]:
                raise ConfigurationError.of(
                    name,
                    "topic-not-compacted",
                    "this topic of the file is used for messages, it cannot hold sagas: choose another name.",
                )

    def topic(self, name: str) -> StoredTopic:
        """Raises ConfigurationError if there is none."""
        known = self._topics.get(name)
        if known is not None:
            return known
        rows = self.connection.execute(
            "SELECT partitions.id, topics.compacted FROM partitions JOIN topics ON topics.id = partitions.topic_id "
            "WHERE topics.name = ? ORDER BY partitions.partition",
            (name,),
        ).fetchall()
        if not rows:
            raise ConfigurationError.of(
                name,
                "topic-missing",
                "the file has no such topic: the engine makes the topics of its machine when it starts, "
                "`EmbeddedClient.create_topics` makes others.",
            )
        topic = StoredTopic(name, bool(rows[0][1]), tuple(row[0] for row in rows))
        self._topics[name] = topic
        return topic

    def partition_id(self, topic_partition: TopicPartition) -> int:
        """Raises ConfigurationError if the topic is missing or has fewer partitions."""
        name, partition = topic_partition
        return _partition_id(self.topic(name), partition)

    # Reading

    def end(self, partition_id: int) -> int:
        """The offset that the partition's next record will get."""
        row = self.connection.execute("SELECT next_offset FROM partitions WHERE id = ?", (partition_id,)).fetchone()
        offset: int = row[0]
        return offset

    def read(self, cursor: Cursor, records_max: int) -> list[StoredRecord]:
        """The records from the cursor on: `records_max` at most, fewer if they are large."""
        return read_page(self.connection, cursor, records_max)

    def cursors(self, group: str, topic_partitions: Iterable[TopicPartition]) -> list[Cursor]:
        """Where the group stands in each partition; 0 where it has no position."""
        return [self._cursor(group, topic_partition) for topic_partition in topic_partitions]

    def _cursor(self, group: str, topic_partition: TopicPartition) -> Cursor:
        partition_id = self.partition_id(topic_partition)
        row = self.connection.execute(
            "SELECT next_offset FROM group_offsets WHERE group_name = ? AND partition_id = ?",
            (group, partition_id),
        ).fetchone()
        return Cursor(partition_id, *topic_partition, next_offset=row[0] if row else 0)

    # Writing

    def join_group(self, group: str, topic_partitions: Iterable[TopicPartition], *, at_end: bool = False) -> None:
        """Give the group a position where it has none, so that retention spares what it has not read."""
        for topic_partition in topic_partitions:
            partition_id = self.partition_id(topic_partition)
            self.connection.execute(
                "INSERT OR IGNORE INTO group_offsets (group_name, partition_id, next_offset) VALUES (?, ?, ?)",
                (group, partition_id, self.end(partition_id) if at_end else 0),
            )

    def set_offsets(self, group: str, next_offsets: Mapping[TopicPartition, int]) -> None:
        """The group goes on at these offsets."""
        for topic_partition, next_offset in next_offsets.items():
            self.connection.execute(
                "INSERT INTO group_offsets (group_name, partition_id, next_offset) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
                (group, self.partition_id(topic_partition), next_offset),
            )

    def open_partition(self, partition_id: int) -> int:
        """A new epoch for a home partition; whoever commits with an older one is fenced."""
        rows = self.connection.execute(
            "UPDATE partitions SET epoch = epoch + 1 WHERE id = ? RETURNING epoch",
            (partition_id,),
        ).fetchall()
        epoch: int = rows[0][0]
        return epoch

    def commit(
        self,
        transaction: Transaction,
        *,
        changelog: Cursor,
        epoch: int,
        group: str,
        now_ms: int,
    ) -> None:
        """Records and offsets of the owner of a home partition. Raises FencedError if there is a newer owner."""
        home = changelog.partition_id
        row = self.connection.execute("SELECT epoch FROM partitions WHERE id = ?", (home,)).fetchone()
        if row[0] != epoch:
            raise FencedError(f"the home partition has been opened again (epoch {row[0]}, ours is {epoch})")
        sagas = as_output(transaction.sagas, changelog.topic, changelog.partition)
        self.append([*transaction.records, *commands_as_output(transaction.commands), *sagas], now_ms=now_ms)
        self.set_offsets(group, transaction.next_offsets)

    def append(self, records: Sequence[OutputRecord], *, now_ms: int) -> list[int]:
        """Put the records behind those of their partitions; in a compacted topic they replace those with their key.

        Returns their offsets.
        """
        by_partition: dict[tuple[int, bool], list[OutputRecord]] = {}
        targets: list[tuple[int, bool]] = []
        for record in records:
            topic = self.topic(record.topic)
            if topic.is_compacted and record.key is None:
                raise InvariantError(f"a record without key for the compacted topic {topic.name}")
            target = (_target(topic, record), topic.is_compacted)
            by_partition.setdefault(target, []).append(record)
            targets.append(target)
        next_offsets: dict[tuple[int, bool], int] = {}
        for (partition_id, is_compacted), group in by_partition.items():
            first = self._reserve(partition_id, len(group))
            marker = partition_id if is_compacted else None
            insert_records(
                self.connection,
                group,
                first_position=first,
                compacted_partition=marker,
                now_ms=now_ms,
            )
            self._appended.add(partition_id)
            next_offsets[(partition_id, is_compacted)] = first & OFFSET_MASK
        offsets: list[int] = []
        for target in targets:
            offsets.append(next_offsets[target])
            next_offsets[target] += 1
        return offsets

    def _reserve(self, partition_id: int, count: int) -> int:
        """The position of the first of `count` new records."""
        rows = self.connection.execute(
            "UPDATE partitions SET next_offset = next_offset + ? WHERE id = ? RETURNING next_offset",
            (count, partition_id),
        ).fetchall()
        next_offset: int = rows[0][0]
        return (partition_id << OFFSET_BITS) + next_offset - count


def _partition_id(topic: StoredTopic, partition: int) -> int:
    if not 0 <= partition < len(topic.partition_ids):
        raise ConfigurationError.of(
            topic.name,
            "partition-missing",
            f"the topic has {len(topic.partition_ids)} partitions, there is no partition {partition}.",
        )
    return topic.partition_ids[partition]


def _target(topic: StoredTopic, record: OutputRecord) -> int:
    if record.partition is not None:
        return _partition_id(topic, record.partition)
    if record.key is None:
        return topic.partition_ids[0]
    return topic.partition_ids[java_murmur2(record.key, len(topic.partition_ids))]
