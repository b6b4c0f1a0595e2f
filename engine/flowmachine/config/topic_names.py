"""What a machine reads and writes in Kafka, by name: its own topics, those of its channels, its consumer group."""

from collections.abc import Iterator
from typing import NamedTuple

from flowmachine.config.channels import KafkaChannel
from flowmachine.config.resource import FlowMachine


class OwnTopics(NamedTuple):
    """The topics that belong to a machine alone."""

    intake: str
    sagas: str
    unmatched: str


def kafka_channels(resource: FlowMachine) -> list[KafkaChannel]:
    """The Kafka channels of a machine, in the order of its file."""
    return [channel.kafka for channel in resource.spec.channels if channel.kafka is not None]


def topic_stem(resource: FlowMachine) -> str:
    """What a machine's own topics are called; the namespace keeps machines of one name on one Kafka apart."""
    metadata = resource.metadata
    owner = f"{metadata.namespace}." if metadata.namespace else ""
    return f"{resource.spec.settings.internal_topics.prefix}{owner}{metadata.name}"


def internal_topics(resource: FlowMachine) -> OwnTopics:
    """The machine's own topics."""
    stem = topic_stem(resource)
    return OwnTopics(f"{stem}.intake", f"{stem}.sagas", f"{stem}.unmatched")


def input_topics(resource: FlowMachine) -> tuple[str, ...]:
    """The topics from which events are read, each once."""
    return _once(topic for channel in kafka_channels(resource) for topic in channel.input_topics)


def output_topics(resource: FlowMachine) -> tuple[str, ...]:
    """The topics to which commands are written, each once."""
    return _once(topic for channel in kafka_channels(resource) for topic in channel.output_topics)


def input_groups(resource: FlowMachine) -> dict[str, str]:
    """The consumer group that each input topic names."""
    return {
        topic: channel.consumer_group
        for channel in kafka_channels(resource)
        for topic in channel.input_topics
        if channel.consumer_group
    }


def consumer_group(resource: FlowMachine) -> str:
    """The group that the machine's engines join: the first that a channel with input topics names."""
    return next(iter(input_groups(resource).values()), topic_stem(resource))


def _once(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
