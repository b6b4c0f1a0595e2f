"""Settings, persistence and scaling as written."""

from typing import Annotated
from typing import Literal as OneOf

from pydantic import Field, StrictBool, StrictInt

from flowmachine.config.fields import Duration, Model, Origin, SagaIdPrefix, TopicPrefix, parse_duration_ms
from flowmachine.config.machine_model import Hook
from flowmachine.config.secret_value import MASKED, SecretValue

PartitionerName = OneOf["java", "kafkajs-legacy", "crc32", "fnv1a"]


FreeForm = Annotated[dict[str, object], MASKED]
"""Any fields; because any of them may be secret, they are neither in a `repr` nor, unmasked, in an ordinary dump."""


class Persistence(Model):
    """Where a copy of every saga is kept for others to read. The truth stays in the log."""

    type: OneOf["none", "postgres", "mongo", "rest", "crud", "kubernetes"] = Field(
        default="none", description="Kind of the store; `none` keeps no copy."
    )
    read_through: StrictBool = Field(
        default=False,
        description="Load sagas that the engine does not know from the store (to move from Flow Manager).",
    )
    configurations: FreeForm = Field(
        default_factory=dict, description="Settings of the store; which ones depends on `type`.", repr=False
    )


class DeepMergeMetadata(Model):
    """How payloads become part of a saga's metadata."""

    enabled: StrictBool = Field(
        default=False, description="Merge nested objects key by key instead of replacing them whole."
    )
    hook: Hook | None = Field(
        default=None, description="JavaScript customizer of lodash's `mergeWith`: `(objValue, srcValue) => value`."
    )


class Retention(Model):
    """How long the engine remembers."""

    finished: Duration = Field(
        default="1h", description='How long finished sagas stay in memory and in the log, e.g. "30m", "1h", "7d".'
    )

    @property
    def finished_ms(self) -> int:
        """`finished` in milliseconds."""
        return parse_duration_ms(self.finished)


class InternalTopics(Model):
    """The engine's own topics."""

    prefix: TopicPrefix = Field(
        default="flowmachine.", description="What the names of the engine's own topics begin with."
    )
    create: StrictBool = Field(default=True, description="Create missing topics of the engine's own.")
    replication_factor: Annotated[StrictInt, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="Replication factor of topics that are created; by default 3, or the number of brokers if lower.",
    )
    min_in_sync_replicas: Annotated[StrictInt, Field(ge=1, le=100)] | None = Field(
        default=None, description="`min.insync.replicas` of topics that are created; by default the broker's."
    )


class Batch(Model):
    """How many records share one Kafka transaction."""

    max_records: StrictInt = Field(
        default=2000, ge=1, le=10_000, description="At most this many records at once, and fewer large ones."
    )
    linger_ms: StrictInt = Field(
        default=5, ge=0, le=1000, description="How long a batch waits for more records, in milliseconds."
    )


class RestSettings(Model):
    """How commands over HTTP are sent."""

    attempts_max: StrictInt = Field(
        default=50, ge=1, le=1_000_000, description="Attempts for a command before it waits for a person."
    )
    side_effect_attempts_max: StrictInt = Field(
        default=5, ge=1, le=1_000_000, description="Attempts for a side effect before it is dropped and counted."
    )
    timeout_seconds: StrictInt = Field(default=10, ge=1, le=3600, description="Time for one attempt, in seconds.")
    concurrency_per_host: StrictInt = Field(default=64, ge=1, le=10_000, description="Requests to one host at a time.")


class HttpSettings(Model):
    """The engine's own HTTP server."""

    body_max_bytes: StrictInt = Field(
        default=900_000, ge=1024, le=100_000_000, description="Largest request body that is read, in bytes."
    )
    tokens: tuple[SecretValue, ...] = Field(
        default=(),
        max_length=10,
        description="Bearer tokens, one of which every request must show, except to probes and metrics; without any "
        "the API is open. Engines show each other the first.",
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(), max_length=100, description="Origins whose pages may use the API, or `*`; none by default."
    )


class Settings(Model):
    """What changes how the engine works; every field has a good default."""

    deep_merge_metadata: DeepMergeMetadata = Field(
        default_factory=DeepMergeMetadata, description="How payloads become part of a saga's metadata."
    )
    throw_on_unexpected_events: StrictBool = Field(
        default=False, description="Answer `POST /event` with an error when the saga's state does not list the event."
    )
    saga_id_prefix: SagaIdPrefix = Field(default="", description="What new saga ids begin with; a UUID follows.")
    align_partitioners: tuple[PartitionerName, ...] = Field(
        default=("java", "kafkajs-legacy"),
        max_length=4,
        description="Partitioners of the services' Kafka clients; new saga ids are chosen so that these agree.",
    )
    retention: Retention = Field(default_factory=Retention, description="How long the engine remembers.")
    internal_topics: InternalTopics = Field(default_factory=InternalTopics, description="The engine's own topics.")
    home_partitions: Annotated[StrictInt, Field(ge=1, le=4096)] | None = Field(
        default=None,
        description="Partitions of the engine's own topics when they are created; by default the highest count among "
        "the input topics. Later changes have no effect.",
    )
    delivery: OneOf["exactlyOnce", "atLeastOnce"] = Field(
        default="exactlyOnce",
        description="How commands reach Kafka. `atLeastOnce` is faster: small batches need no transaction, and after a "
        "crash a command may be written again, with the same id in the header `flowmachine-command-id`. Sagas are "
        "exact either way.",
    )
    batch: Batch = Field(default_factory=Batch, description="How many records share one Kafka transaction.")
    rest: RestSettings = Field(default_factory=RestSettings, description="How commands over HTTP are sent.")
    http: HttpSettings = Field(default_factory=HttpSettings, description="The engine's own HTTP server.")


class Scaling(Model):
    """How many engines run; without any field as many as there are partitions."""

    max_replicas: Annotated[StrictInt, Field(ge=1, le=4096)] | None = Field(
        default=None, description="At most this many engines; by default as many as the input topics have partitions."
    )
    replicas: Annotated[StrictInt, Field(ge=0, le=4096)] | None = Field(
        default=None, description="Exactly this many engines, whatever the number of partitions; 0 pauses the machine."
    )
