"""A machine's topics: finds them, creates the internal ones, and says plainly what is missing."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from flowmachine.adapters.kafka.connection import KafkaConnection
from flowmachine.adapters.kafka.diagnosis import connected_admin
from flowmachine.adapters.kafka.errors import translate, translated
from flowmachine.config.resource import FlowMachine
from flowmachine.config.topic_names import input_topics, internal_topics, output_topics
from flowmachine.errors import ConfigurationError, Problem, TransientError
from flowmachine.ports import Topics

_REPLICAS = 3
_SAGAS_SEGMENT_BYTES = 64 * 1024 * 1024
_SAGAS_SEGMENT_MS = 3600 * 1000
_APPEAR_POLLS_MAX = 100
_APPEAR_POLL_SECONDS = 0.05
_UNMATCHED_RETENTION_MS = 7 * 24 * 3600 * 1000


class TopicsMissingError(ConfigurationError):
    """Somebody must create these topics."""

    def __init__(self, topics: Iterable[str], address: str) -> None:
        self.topics = tuple(topics)
        super().__init__(
            [
                Problem("kafka", "topic-missing", f"topic {name!r} does not exist on {address}; create it")
                for name in self.topics
            ]
        )


@dataclass(frozen=True, slots=True)
class TopicNames:
    """What a machine reads and writes.

    `home_partitions` None: the highest partition count among the inputs. `replication_factor` None: 3, or as many as
    there are brokers.
    """

    intake: str
    sagas: str
    unmatched: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    create: bool = True
    home_partitions: int | None = None
    replication_factor: int | None = None
    min_insync_replicas: int | None = None

    @property
    def internal(self) -> tuple[str, str, str]:
        """The topics that belong to the machine alone."""
        return self.intake, self.sagas, self.unmatched


def topic_names(resource: FlowMachine) -> TopicNames:
    """What a machine reads and writes, and how its own topics are made."""
    settings = resource.spec.settings
    own = internal_topics(resource)
    return TopicNames(
        intake=own.intake,
        sagas=own.sagas,
        unmatched=own.unmatched,
        inputs=input_topics(resource),
        outputs=output_topics(resource),
        create=settings.internal_topics.create,
        home_partitions=settings.home_partitions,
        replication_factor=settings.internal_topics.replication_factor,
        min_insync_replicas=settings.internal_topics.min_in_sync_replicas,
    )


async def prepare_topics(connection: KafkaConnection, names: TopicNames) -> Topics:
    """Find all topics and create the internal ones that are missing.

    N, the partition count of `intake` and `sagas`, is pinned once they exist. Raises ConfigurationError with every
    topic that is missing or may not be used, TransientError when the brokers cannot be reached.
    """
    async with connected_admin(connection) as admin:
        wanted = (*names.internal, *names.inputs, *names.outputs)
        with translated("describing topics"):
            counts = await _partition_counts(admin, wanted)
        _require(counts, names, connection)
        missing = [name for name in names.internal if name not in counts]
        if missing:
            partitions = _home_partitions(names, counts)
            await _create(admin, names, missing, partitions)
            counts |= await _wait_for_leaders(admin, missing)
        return _topics(names, counts)


async def delete_topics(connection: KafkaConnection, topics: Iterable[str]) -> None:
    """Afterwards these topics do not exist. Raises as `prepare_topics` does."""
    async with connected_admin(connection) as admin:
        with translated("describing topics"):
            existing = sorted(await _partition_counts(admin, topics))
        if not existing:
            return
        with translated(f"deleting topics {', '.join(existing)}"):
            response = await admin.delete_topics(existing)
        codes: list[Any] = response.topic_error_codes  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        for name, code, *_ in codes:
            error = kafka.for_code(code)
            if error not in (kafka.NoError, kafka.UnknownTopicOrPartitionError):
                raise translate(error(name), f"deleting topic {name!r}")


async def _wait_for_leaders(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, int]:
    """A new topic is answered for by all brokers a moment after it was created."""
    for _ in range(_APPEAR_POLLS_MAX):
        with translated("describing topics"):
            counts = await _partition_counts(admin, topics, is_led=True)
        if len(counts) == len(topics):
            return counts
        await asyncio.sleep(_APPEAR_POLL_SECONDS)
    raise TransientError(f"the new topics {', '.join(topics)} have no leaders yet")


async def _partition_counts(
    admin: AIOKafkaAdminClient, topics: Iterable[str], *, is_led: bool = False
) -> dict[str, int]:
    """Partition counts of the topics that exist (`is_led`: and whose partitions all have a leader)."""
    described: list[dict[str, Any]] = await admin.describe_topics(sorted(set(topics)))
    counts: dict[str, int] = {}
    for topic in described:
        if is_led and not all(partition["leader"] >= 0 for partition in topic["partitions"]):
            continue
        error = kafka.for_code(topic["error_code"])
        if error is kafka.NoError:
            counts[topic["topic"]] = len(topic["partitions"])
        elif error is not kafka.UnknownTopicOrPartitionError:
            raise translate(error(topic["topic"]), "describing topics")
    return counts


def _require(counts: Mapping[str, int], names: TopicNames, connection: KafkaConnection) -> None:
    needed = [*names.inputs, *names.outputs]
    if not names.create:
        needed += names.internal
    missing = sorted({name for name in needed if name not in counts})
    if missing:
        raise TopicsMissingError(missing, connection.address)


def _home_partitions(names: TopicNames, counts: Mapping[str, int]) -> int:
    for existing in (names.sagas, names.intake):
        if existing in counts:
            return counts[existing]
    return names.home_partitions or max((counts[name] for name in names.inputs), default=1)


async def _create(admin: AIOKafkaAdminClient, names: TopicNames, missing: list[str], partitions: int) -> None:
    configs: dict[str, dict[str, str]] = {
        names.intake: {"cleanup.policy": "delete"},
        # The newest segment is never compacted, and a restore reads it whole: small segments keep a restore short.
        names.sagas: {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.3",
            "segment.bytes": str(_SAGAS_SEGMENT_BYTES),
            "segment.ms": str(_SAGAS_SEGMENT_MS),
        },
        names.unmatched: {"cleanup.policy": "delete", "retention.ms": str(_UNMATCHED_RETENTION_MS)},
    }
    new_topics: list[NewTopic] = []
    with translated("describing the cluster"):
        brokers = len((await admin.describe_cluster())["brokers"])
    # aiokafka 0.14 cannot ask for the brokers' default factor (that needs CreateTopics v4)
    factor = names.replication_factor or min(_REPLICAS, brokers)
    for name in missing:
        topic_configs = configs[name]
        if names.min_insync_replicas is not None:
            topic_configs["min.insync.replicas"] = str(names.min_insync_replicas)
        new_topics.append(NewTopic(name, partitions, factor, topic_configs=topic_configs))
    with translated(f"creating topics {', '.join(missing)}"):
        response = await admin.create_topics(new_topics)
    topic_errors: list[Any] = response.topic_errors  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    for name, code, *rest in topic_errors:
        error = kafka.for_code(code)
        if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
            detail = next((text for text in rest if text), error.__name__)
            if isinstance(error(), kafka.TopicAuthorizationFailedError | kafka.ClusterAuthorizationFailedError):
                text = f"may not create topic {name!r}; create it, or grant Create to the engine's user"
                raise ConfigurationError.of("kafka", "not-authorised", text)
            raise TransientError(f"while creating topic {name!r}: {detail}")


def _topics(names: TopicNames, counts: Mapping[str, int]) -> Topics:
    if counts[names.intake] != counts[names.sagas]:
        text = (
            f"{names.intake!r} has {counts[names.intake]} partitions and {names.sagas!r} has {counts[names.sagas]}; "
            "both must keep the number that they were created with, or sagas lose their home"
        )
        raise ConfigurationError.of("kafka", "home-partitions", text)
    return Topics(
        intake=names.intake,
        sagas=names.sagas,
        unmatched=names.unmatched,
        inputs=names.inputs,
        outputs=names.outputs,
        home_partitions=counts[names.sagas],
        input_partitions={name: counts[name] for name in names.inputs},
        output_partitions={name: counts[name] for name in names.outputs},
    )
