"""What may be deleted, so that the file does not grow for ever. SQLite reuses freed pages; the file does not shrink.

| topic         | record    | goes when                                                                                |
|---------------|-----------|------------------------------------------------------------------------------------------|
| not compacted | any       | it is older than the retention (7 days) and every group with a position has read it      |
| compacted     | tombstone | it is older than `TOMBSTONE_RETENTION_MS` (a day), and the same                          |
| compacted     | other     | never: a newer record of its key replaces it at once                                     |

A group gets its position with its first read and keeps it: one that stops reading for good holds back what it would
have read (delete its rows of `group_offsets` with any SQLite shell). An engine that owns a partition wrote its
tombstones itself, and one that restores from the start does not need them: a day, as in Kafka, is more than enough.
"""

from flowmachine.adapters.embedded.rows import OFFSET_BITS
from flowmachine.adapters.embedded.store import Store

RETENTION_MS_DEFAULT = 7 * 24 * 60 * 60 * 1000

TOMBSTONE_RETENTION_MS = 24 * 60 * 60 * 1000

SWEEP_SECONDS = 60.0
"""Pause between two sweeps."""

SWEEP_RECORDS_MAX = 1_000
"""Records deleted in one transaction: a few milliseconds, so that commits hardly notice."""


def sweep(store: Store, *, now_ms: int, retention_ms: int) -> int:
    """Delete up to `SWEEP_RECORDS_MAX` records per partition; returns how many went, 0 when nothing is left to do."""
    rows = store.connection.execute(
        "SELECT partitions.id, partitions.next_offset, topics.compacted, min(group_offsets.next_offset) "
        "FROM partitions JOIN topics ON topics.id = partitions.topic_id "
        "LEFT JOIN group_offsets ON group_offsets.partition_id = partitions.id "
        "GROUP BY partitions.id",
    ).fetchall()
    deleted = 0
    for partition_id, end, is_compacted, passed in rows:
        base = partition_id << OFFSET_BITS
        limit = base + min(end, end if passed is None else passed)
        if is_compacted:
            deleted += _delete_tombstones(store, base, limit, now_ms - TOMBSTONE_RETENTION_MS)
        else:
            deleted += _delete_head(store, base, limit, now_ms - retention_ms)
    return deleted


def _delete_head(store: Store, base: int, limit: int, before_ms: int) -> int:
    """Delete from the partition's start up to the first record that must stay; only the head is ever looked at."""
    rows = store.connection.execute(
        "SELECT position, timestamp FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT ?",
        (base, limit, SWEEP_RECORDS_MAX),
    ).fetchall()
    last = -1
    for position, timestamp in rows:
        if timestamp >= before_ms:
            break
        last = position
    if last < 0:
        return 0
    return store.connection.execute(
        "DELETE FROM records WHERE position >= ? AND position <= ?",
        (base, last),
    ).rowcount


def _delete_tombstones(store: Store, base: int, limit: int, before_ms: int) -> int:
    return store.connection.execute(
        "DELETE FROM records WHERE position IN (SELECT position FROM records INDEXED BY tombstones "
        "WHERE compacted_partition IS NOT NULL AND value IS NULL AND position >= ? AND position < ? AND timestamp < ? "
        "LIMIT ?)",
        (base, limit, before_ms, SWEEP_RECORDS_MAX),
    ).rowcount
