"""The FlowMachine resource: `apiVersion: flowmachine.io/v1alpha1, kind: FlowMachine`.

These models are the only description of the resource: the CRD's OpenAPI schema, the editor's JSON Schema and the
reference page are generated from them. They say what a schema can say; `references` says the rest, so use `load` to
read a resource.
"""

from typing import Annotated, Final
from typing import Literal as OneOf

from pydantic import ConfigDict, Field, StrictStr, model_validator

from flowmachine.config.channels import Channel, KafkaChannel, RestChannel, Sasl, Tls
from flowmachine.config.documents import is_object
from flowmachine.config.fields import MachineName, Model
from flowmachine.config.machine_model import (
    BusinessEvent,
    BusinessState,
    Hook,
    MachineDefinition,
    OutgoingTransition,
    OutputCommand,
    State,
)
from flowmachine.config.secret_value import (
    MASK,
    MASKED,
    REVEAL_SECRETS,
    SecretFile,
    SecretKey,
    SecretKeyRef,
    SecretValue,
)
from flowmachine.config.settings import (
    Batch,
    DeepMergeMetadata,
    FreeForm,
    HttpSettings,
    InternalTopics,
    Persistence,
    RestSettings,
    Retention,
    Scaling,
    Settings,
)

__all__ = [
    "API_VERSION",
    "KIND",
    "MASK",
    "Batch",
    "BusinessEvent",
    "BusinessState",
    "Channel",
    "DeepMergeMetadata",
    "FlowMachine",
    "FlowMachineSpec",
    "Hook",
    "HttpSettings",
    "InternalTopics",
    "KafkaChannel",
    "MachineDefinition",
    "Metadata",
    "OutgoingTransition",
    "OutputCommand",
    "Persistence",
    "RestChannel",
    "RestSettings",
    "Retention",
    "Sasl",
    "Scaling",
    "SecretFile",
    "SecretKey",
    "SecretKeyRef",
    "SecretValue",
    "Settings",
    "State",
    "Tls",
    "dump_document",
]

API_VERSION: Final = "flowmachine.io/v1alpha1"
KIND: Final = "FlowMachine"
CHANNELS_MAX: Final = 64


class Metadata(Model):
    """The object's metadata. Only what the engine uses is kept; Kubernetes may have put more there."""

    model_config = ConfigDict(extra="ignore")

    name: MachineName = Field(description="Name of the machine: names its internal topics and its Kubernetes objects.")
    namespace: StrictStr | None = Field(default=None, description="Kubernetes namespace.", max_length=63)
    labels: dict[str, StrictStr] = Field(default_factory=dict, description="Kubernetes labels.")
    annotations: Annotated[dict[str, StrictStr], MASKED] = Field(
        default_factory=dict,
        description="Kubernetes annotations.",
        repr=False,  # kubectl keeps the whole object in one of them, with its literal secrets
    )


class FlowMachineSpec(Model):
    """A machine, the channels to its services, and how it runs."""

    machine: MachineDefinition = Field(description="The state machine that every saga follows.")
    channels: tuple[Channel, ...] = Field(
        description="Where commands go, and where events come from: Kafka topics or HTTP endpoints.",
        min_length=1,
        max_length=CHANNELS_MAX,
    )
    persistence: Persistence = Field(
        default_factory=Persistence, description="Where a copy of every saga is kept for others to read."
    )
    settings: Settings = Field(default_factory=Settings, description="What changes how the engine works.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many engines run.")
    deletion_policy: OneOf["Retain", "Delete"] = Field(
        default="Retain",
        description="What becomes of the machine's own topics, and with them of its sagas, when it is deleted in "
        "Kubernetes: `Retain` keeps them, `Delete` removes them once no engine runs any more.",
    )
    template: FreeForm = Field(
        default_factory=dict,
        description="Overrides of the engine's pods: resources, env, nodeSelector, ...",
        repr=False,
    )


class FlowMachine(Model):
    """One machine with everything that is needed to run it."""

    api_version: OneOf["flowmachine.io/v1alpha1"] = Field(
        description="Version of this form: `flowmachine.io/v1alpha1`."
    )
    kind: OneOf["FlowMachine"] = Field(description="Always `FlowMachine`.")
    metadata: Metadata = Field(description="Name, labels and annotations.")
    spec: FlowMachineSpec = Field(
        description="What is to run: the machine, its ways to the services, and how its engines run."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_status(cls, data: object) -> object:
        if is_object(data):
            return {key: value for key, value in data.items() if key != "status"}
        return data


def dump_document(resource: FlowMachine, *, reveal_secrets: bool) -> dict[str, object]:
    """The resource as a JSON-like document without its defaults; literal secrets are masked unless asked for."""
    context = REVEAL_SECRETS if reveal_secrets else None
    return resource.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True, context=context)
