"""What a partition needs to know besides its machine."""

from collections.abc import Mapping
from typing import final

import msgspec


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
    is_read_through: bool = False
    """Events of sagas that are not known wait until a store has been asked."""
    has_command_ids: bool = False
    """Commands carry an id: their log may write them more than once."""
    aligned_topics: frozenset[str] = frozenset()
    """Topics with as many partitions as there are homes: a saga's commands go to the partition of its home's number."""
