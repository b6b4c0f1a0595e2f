"""Whose children are built, and what the operator was told about engines when it was installed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowmachine.config.resource import FlowMachine

Manifest = dict[str, object]
"""A Kubernetes object, or a part of one, as JSON-like values."""

HTTP_PORT: Final = 8080
"""Where engines listen in their pods; Flow Manager's port."""

CONFIG_DIR: Final = "/etc/flowmachine"
CONFIG_FILE: Final = "flowmachine.json"
SECRETS_DIR: Final = "/var/run/secrets/flowmachine"
"""What the engine's `--secrets-dir` is; the keys of Secrets lie there as `{name}/{key}`."""


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """What the operator's own configuration says about every engine; a machine's template goes before it."""

    image: str
    image_pull_policy: str | None = None
    """None: Kubernetes' own default."""
    image_pull_secrets: tuple[str, ...] = ()
    extra_labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Subject:
    """A FlowMachine in the cluster: it came from `config.load` and has a namespace."""

    resource: FlowMachine
    uid: str
    engine: EngineDefaults

    def __post_init__(self) -> None:
        assert self.resource.metadata.namespace, "an object from the API server has a namespace"

    @property
    def name(self) -> str:
        """Name of the machine."""
        return self.resource.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the machine and of all its children."""
        return self.resource.metadata.namespace or ""

    @property
    def has_kafka(self) -> bool:
        """Whether the log is Kafka. An embedded log needs a disk that outlives a pod, and gets no Deployment."""
        return any(channel.kafka is not None for channel in self.resource.spec.channels)
