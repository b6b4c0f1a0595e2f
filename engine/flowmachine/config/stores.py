"""`persistence.configurations`, by `persistence.type`: what each store needs to know.

Any text may be a secret, so any may be written as a reference (`{secretKeyRef}`, `{file}`): the operator writes all of
them like that. `check_store` passes over references; `parse_store` wants them resolved.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final
from typing import Literal as OneOf

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, StringConstraints, ValidationError

from flowmachine.config.channels import Tls
from flowmachine.config.documents import Fault, Path, as_object, format_path, is_array, is_object
from flowmachine.config.fields import TABLE_PATTERN, Duration, HeaderName, Host, Model, Port, UrlPath
from flowmachine.config.problems import describe_errors, unknown_field
from flowmachine.errors import ConfigurationError, Problem

CONFIGURATIONS: Final[Path] = ("spec", "persistence", "configurations")
_REFERENCES: Final = ({"secretKeyRef"}, {"file"})


def _to_port(value: object) -> object:
    """Flow Manager's files may have a port as text, and a resolved secret is always one."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6 else value


StorePort = Annotated[Port, BeforeValidator(_to_port)]
Name = Annotated[StrictStr, StringConstraints(min_length=1, max_length=255)]
Uri = Annotated[StrictStr, StringConstraints(min_length=1, max_length=4096)]
Headers = dict[HeaderName, StrictStr]


class StoreRetention(Model):
    """How long a store remembers."""

    finished: Duration = Field(description='How long finished sagas stay in the table, e.g. "90d".')


class PostgresSettings(Model):
    """A table in PostgreSQL."""

    connection_uri: Uri = Field(description="`postgresql://user:password@host:port/database`.", repr=False)
    table: Annotated[StrictStr, StringConstraints(max_length=127, pattern=TABLE_PATTERN)] = Field(
        default="sagas", description="Name of the table, with its schema if need be; machines may share one."
    )
    create_table: StrictBool = Field(default=True, description="Create the table, and bring an older one up to date.")
    retention: StoreRetention | None = Field(default=None, description="By default everything stays.")


class MongoSettings(Model):
    """A collection in MongoDB, in Flow Manager's form."""

    connection_uri: Uri = Field(description="`mongodb://user:password@host:port/database`.", repr=False)
    collection_name: Name = Field(description="Name of the collection.")


class RestSettings(Model):
    """A persistency service, called as Flow Manager calls it."""

    protocol: OneOf["http", "https"] = Field(default="http", description="Protocol of the service.")
    endpoint: Host = Field(description="Host name or address of the service.")
    port: StorePort | None = Field(default=None, description="Port; by default the protocol's own.")
    path: UrlPath = Field(default="/", description="Path in front of the saga's id.")
    method: OneOf["POST", "PUT", "PATCH"] = Field(default="POST", description="Method of an upsert.")
    headers: Headers = Field(default_factory=dict, description="Headers to send.", max_length=64, repr=False)
    tls: Tls | None = Field(default=None, description="Certificates for `https`.")


class CrudSettings(Model):
    """Mia-Platform's CRUD service, called as Flow Manager calls it."""

    protocol: OneOf["http", "https"] = Field(default="http", description="Protocol of the service.")
    host: Host = Field(default="crud-service", description="Host name or address of the service.")
    port: StorePort = Field(default=80, description="Port of the service.")
    collection_name: Name = Field(description="Name of the collection.")
    headers: Headers = Field(default_factory=dict, description="Headers to send.", max_length=64, repr=False)
    tls: Tls | None = Field(default=None, description="Certificates for `https`.")


class KubernetesRetention(Model):
    """How long finished sagas are shown."""

    finished: Duration = Field(default="1h", description='How long objects of finished sagas stay, e.g. "10m".')


class KubernetesSettings(Model):
    """A `Saga` object for every saga, in the machine's namespace."""

    max_objects: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(
        default=10_000, description="The most objects of the machine; sagas beyond them have none."
    )
    retention: KubernetesRetention = Field(default_factory=KubernetesRetention, description="When objects are removed.")


StoreSettings = KubernetesSettings | PostgresSettings | MongoSettings | RestSettings | CrudSettings

_MODELS: Final[Mapping[str, type[StoreSettings]]] = {
    "postgres": PostgresSettings,
    "mongo": MongoSettings,
    "rest": RestSettings,
    "crud": CrudSettings,
    "kubernetes": KubernetesSettings,
}


def check_store(persistence: Mapping[str, object]) -> Iterator[Fault]:
    """The faults of `spec.persistence` that its own model does not find."""
    kind, configurations = persistence.get("type", "none"), persistence.get("configurations")
    if persistence.get("readThrough") is True and kind == "none":
        yield Fault(("spec", "persistence", "readThrough"), "no-store", "needs a store to read from: set `type`")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None or not (configurations is None or is_object(configurations)):
        return
    references = set(_find_references(configurations, CONFIGURATIONS))
    for fault in _validate(model, as_object(configurations)):
        if not any(fault.path[: len(path)] == path for path in references):
            yield fault


def parse_store(kind: str, configurations: Mapping[str, object]) -> StoreSettings:
    """The settings of a store, from configurations without references. Raises ConfigurationError."""
    model, found = _MODELS[kind], dict(configurations)
    try:
        return model.model_validate(found)
    except ValidationError:
        faults = _validate(model, found)
        raise ConfigurationError(
            [Problem(format_path(fault.path), fault.code, fault.message) for fault in faults]
        ) from None


def is_reference(value: object) -> bool:
    """Whether a value says where a secret is."""
    return is_object(value) and set(value) in _REFERENCES


def _validate(model: type[StoreSettings], configurations: dict[str, object]) -> Iterator[Fault]:
    try:
        model.model_validate(configurations)
    except ValidationError as error:
        fields = [field.alias or name for name, field in model.model_fields.items()]
        for fault in describe_errors(error):
            path = (*CONFIGURATIONS, *fault.path)
            yield (
                unknown_field(path, fields) if fault.code == "unknown-field" else Fault(path, fault.code, fault.message)
            )


def _find_references(value: object, path: Path) -> Iterator[Path]:
    if is_reference(value):
        yield path
    elif is_object(value):
        for key, item in value.items():
            yield from _find_references(item, (*path, key))
    elif is_array(value):
        for index, item in enumerate(value):
            yield from _find_references(item, (*path, index))
