"""Where a home partition goes on reading: the offsets that its consumer group has committed."""

from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.errors import translated
from flowmachine.adapters.kafka.source import FETCH_BYTES, consumer_arguments
from flowmachine.errors import TransientError


async def find_offsets(
    connection: KafkaConnection,
    group: str,
    inputs: Sequence[TopicPartition],
    changelog: TopicPartition,
    legacy_groups: Mapping[str, str],
) -> dict[TopicPartition, int]:
    """The next offset of every input, and the group's of the changelog: -1 if it has none. Raises TransientError.

    An input that the group does not know: its legacy group's offset (topic -> group), else the first one that is there.
    """
    offsets = await _group_offsets(connection, group, [*inputs, changelog])
    for topic, legacy_group in legacy_groups.items():
        unknown = [tp for tp in inputs if tp.topic == topic and offsets[tp] < 0]
        if unknown and legacy_group != group:
            offsets |= await _group_offsets(connection, legacy_group, unknown)
    fresh = [tp for tp in inputs if offsets[tp] < 0]
    return offsets | await _first_offsets(connection, fresh) if fresh else offsets


async def _group_offsets(
    connection: KafkaConnection, group: str, wanted: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    arguments = connection.client_arguments()
    del arguments["metadata_max_age_ms"]
    admin = AIOKafkaAdminClient(**arguments)
    try:
        with translated(f"reading the offsets of consumer group {group!r}"):
            await admin.start()
            try:
                found = await admin.list_consumer_group_offsets(group, partitions=list(wanted))
            except AttributeError as error:  # aiokafka 0.14 trips over the error code of a coordinator still loading
                raise TransientError(f"the coordinator of group {group!r} is not ready") from error
    finally:
        await stop_client(admin)
    if len(found) != len(wanted):
        # An answer without our partitions is an error, never "no offset": starting over would apply inputs twice.
        raise TransientError(f"the coordinator of group {group!r} did not answer for every partition")
    return {tp: found[tp].offset for tp in wanted}


async def _first_offsets(connection: KafkaConnection, wanted: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(**consumer_arguments(connection, FETCH_BYTES))
    try:
        with translated("reading the first offsets of the input topics"):
            await consumer.start()
            offsets: dict[TopicPartition, int] = await consumer.beginning_offsets(list(wanted))
            return offsets
    finally:
        await stop_client(consumer)
