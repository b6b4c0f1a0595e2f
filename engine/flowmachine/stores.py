"""Which store a FlowMachine has, and how the projector reads its log: chooses adapters for `app` and the commands."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from flowmachine.adapters.files.secrets import read_secret
from flowmachine.adapters.files.tls import build_tls_context, read_tls
from flowmachine.adapters.rest import CrudCalls, HttpStore, RestCalls, RestEndpoint
from flowmachine.adapters.rest.sender import build_url
from flowmachine.config.documents import as_object, is_array, is_object
from flowmachine.config.fields import parse_duration_ms
from flowmachine.config.resource import FlowMachine, SecretFile, SecretKeyRef
from flowmachine.config.stores import (
    CrudSettings,
    KubernetesSettings,
    MongoSettings,
    PostgresSettings,
    RestSettings,
    is_reference,
    parse_store,
)
from flowmachine.errors import ConfigurationError
from flowmachine.ports import SagaQueries, SagaStore

_CONFIGURATIONS: Final = "spec.persistence.configurations"


@dataclass(frozen=True, slots=True)
class Store:
    """A machine's store; `queries` is None for one that cannot be searched."""

    kind: str
    store: SagaStore
    queries: SagaQueries | None


def build_store(resource: FlowMachine, secrets_dir: Path, session: aiohttp.ClientSession) -> Store | None:
    """The store that the FlowMachine asks for; nothing is connected yet. Raises ConfigurationError."""
    persistence = resource.spec.persistence
    if persistence.type == "none":
        return None
    configurations = as_object(_resolve(dict(persistence.configurations), secrets_dir, where=_CONFIGURATIONS))
    settings = parse_store(persistence.type, configurations)
    if isinstance(settings, KubernetesSettings):
        return _build_kubernetes(settings, resource)
    if isinstance(settings, PostgresSettings):
        return _build_postgres(settings, store_name(resource))
    if isinstance(settings, MongoSettings):
        return _build_mongo(settings)
    return _build_http(settings, secrets_dir, session)


@asynccontextmanager
async def opened_store(
    resource: FlowMachine, secrets_dir: Path, session: aiohttp.ClientSession
) -> AsyncGenerator[Store | None]:
    """The same, closed at the end of the block."""
    store = build_store(resource, secrets_dir, session)
    try:
        yield store
    finally:
        if store is not None:
            await store.store.close()


def store_name(resource: FlowMachine) -> str:
    """What tells a machine from others in a store that they share."""
    metadata = resource.metadata
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


def _build_postgres(settings: PostgresSettings, machine: str) -> Store:
    try:
        from flowmachine.adapters.postgres import PostgresStore
    except ImportError as error:
        raise _extra_missing("postgres") from error
    retention = settings.retention
    store = PostgresStore(
        settings.connection_uri,
        table=settings.table,
        machine=machine,
        create_table=settings.create_table,
        retention_finished_ms=None if retention is None else parse_duration_ms(retention.finished),
    )
    return Store("postgres", store, store)


def _build_mongo(settings: MongoSettings) -> Store:
    try:
        from flowmachine.adapters.mongo import MongoStore
    except ImportError as error:
        raise _extra_missing("mongo") from error
    store = MongoStore(settings.connection_uri, collection=settings.collection_name)
    return Store("mongo", store, store)


def _build_http(settings: RestSettings | CrudSettings, secrets_dir: Path, session: aiohttp.ClientSession) -> Store:
    if isinstance(settings, RestSettings):
        kind, host, path = "rest", settings.endpoint, settings.path
    else:
        kind, host, path = "crud", settings.host, f"/{settings.collection_name}"
    url = build_url(RestEndpoint(host=host, protocol=settings.protocol, port=settings.port, path=path))
    where = f"{_CONFIGURATIONS}.tls"
    store = HttpStore(
        RestCalls(url, settings.method) if isinstance(settings, RestSettings) else CrudCalls(url),
        session,
        headers=settings.headers,
        tls=build_tls_context(read_tls(settings.tls, secrets_dir, where=where), where=where),
    )
    return Store(kind, store, None)


def _build_kubernetes(settings: KubernetesSettings, resource: FlowMachine) -> Store:
    from flowmachine.adapters.kubernetes import KubeApi, KubernetesStore, in_cluster_connection

    store = KubernetesStore(
        KubeApi(in_cluster_connection()),
        namespace=resource.metadata.namespace or "default",
        machine=resource.metadata.name,
        objects_max=settings.max_objects,
        retention_finished_ms=parse_duration_ms(settings.retention.finished),
    )
    return Store("kubernetes", store, None)


def _extra_missing(extra: str) -> ConfigurationError:
    message = f"needs packages that are not installed: pip install 'flowmachine-operator[{extra}]'"
    return ConfigurationError.of("spec.persistence.type", "extra-missing", message)


def _resolve(value: object, secrets_dir: Path, *, where: str) -> object:
    """The value with every reference to a secret replaced by what stands there."""
    if is_reference(value):
        model = SecretFile if "file" in as_object(value) else SecretKeyRef
        return read_secret(model.model_validate(value), secrets_dir, where=where)
    if is_object(value):
        return {key: _resolve(item, secrets_dir, where=f"{where}.{key}") for key, item in value.items()}
    if is_array(value):
        return [_resolve(item, secrets_dir, where=f"{where}[{index}]") for index, item in enumerate(value)]
    return value
