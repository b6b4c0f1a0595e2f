"""What a partition needs to know besides its machine."""

from collections.abc import Mapping
from typing import final

import msgspec

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""What a batch writes is in memory several times until it is committed, and a slow broker must be able to take it
before the transaction's time is up."""


@final
class PartitionSettings(msgspec.Struct, frozen=True):
    """What a partition needs to know besides its machine."""

    partition: int
    home_partitions: int
    intake_topic: str
    sagas_topic: str
    unmatched_topic: str
    command_topics: Mapping[str, tuple[str, ...]]
    """Channel id to the topics that its commands go to; channels that are not Kafka are absent."""
    retention_finished_ms: int
    record_bytes_max: int
    batch_bytes_max: int = BATCH_BYTES_MAX
    """A batch ends with the input that makes it this large."""
    is_read_through: bool = False
    """Events of sagas that are not known wait until a store has been asked."""
    has_command_ids: bool = False
    """Commands carry an id: their log may write them more than once."""
    aligned_topics: frozenset[str] = frozenset()
    """Topics with as many partitions as there are homes: a saga's commands go to the partition of its home's number."""
