"""What a machine needs for itself in Kafka, and who else claims it.

Two machines in one consumer group would steal each other's partitions, and a machine that reads or writes another's own
topics would break it. The older machine has the right; of two of the same second the one that sorts first.

Brokers are compared as they are written: two machines that know one cluster under other addresses are not found out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flowmachine.config.resource import FlowMachine, SecretKeyRef
from flowmachine.config.topic_names import consumer_group, input_topics, internal_topics, kafka_channels, output_topics
from flowmachine.errors import Problem


@dataclass(frozen=True, slots=True)
class Claims:
    """What one machine uses; `seniority` sorts older machines first."""

    machine: str
    """`{namespace}/{name}`."""
    seniority: tuple[str, str]
    brokers: frozenset[str]
    group: str
    own_topics: frozenset[str]
    other_topics: frozenset[str]


def claims_of(resource: FlowMachine, *, created: str) -> Claims | None:
    """The claims of a machine; None for one without Kafka. `created` is RFC 3339, as the API server has it."""
    channels = kafka_channels(resource)
    if not channels:
        return None
    namespace, name = resource.metadata.namespace or "", resource.metadata.name
    brokers: set[str] = set()
    for channel in channels:
        if isinstance(channel.brokers, tuple):
            brokers.update(channel.brokers)
        elif isinstance(channel.brokers, SecretKeyRef):
            reference = channel.brokers.secret_key_ref
            brokers.add(f"{namespace}/{reference.name}/{reference.key}")
    return Claims(
        machine=f"{namespace}/{name}",
        seniority=(created, f"{namespace}/{name}"),
        brokers=frozenset(brokers),
        group=consumer_group(resource),
        own_topics=frozenset(internal_topics(resource)),
        other_topics=frozenset((*input_topics(resource), *output_topics(resource))),
    )


def check_claims(own: Claims, others: Iterable[Claims]) -> tuple[Problem, ...]:
    """What is wrong with a machine because of older ones."""
    problems: list[Problem] = []
    for other in sorted(others, key=lambda claims: claims.seniority):
        if other.machine == own.machine or other.seniority > own.seniority or not own.brokers & other.brokers:
            continue
        if other.group == own.group:
            message = f"the consumer group {own.group!r} is used by the FlowMachine {other.machine}; choose another"
            problems.append(Problem("spec.channels", "group-taken", message))
        shared = (own.own_topics & (other.own_topics | other.other_topics)) | (own.other_topics & other.own_topics)
        if shared:
            message = (
                f"the topic {min(shared)!r} is the FlowMachine {other.machine}'s own or is used by it; choose another, "
                "or another settings.internalTopics.prefix"
            )
            problems.append(Problem("spec.channels", "topic-taken", message))
    return tuple(problems)
