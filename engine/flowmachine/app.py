"""The one place that chooses adapters and wires them: a FlowMachine and options in, a running engine out."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from flowmachine import __version__
from flowmachine.adapters.embedded.changes import EmbeddedChanges
from flowmachine.adapters.embedded.log import EmbeddedLog, wall_clock
from flowmachine.adapters.embedded.log import InternalTopics as EmbeddedTopicNames
from flowmachine.adapters.files.secrets import read_secret
from flowmachine.adapters.files.tls import read_tls
from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.adapters.kafka import KafkaChanges, KafkaConnection, KafkaLog, KafkaLogSettings, Sasl, TopicNames
from flowmachine.adapters.prometheus import PrometheusObserver
from flowmachine.adapters.rest import HostSlots, HttpPeerReader, RestEndpoint, RestSender, open_session
from flowmachine.api.server import ApiSettings, Lifecycle, build_application, build_probes, run_server
from flowmachine.config.build import build_machine
from flowmachine.config.resource import FlowMachine, KafkaChannel, SecretFile, SecretKeyRef, dump_document
from flowmachine.errors import ConfigurationError
from flowmachine.ports import CommandSender, Log, SagaChanges, StoreObserver
from flowmachine.runtime.delivery import DeliverySettings
from flowmachine.runtime.engine import Engine, EngineSettings
from flowmachine.runtime.gateway import Gateway, GatewaySettings
from flowmachine.runtime.listing import EngineListing, StoreListing
from flowmachine.runtime.partition_task import BatchSettings
from flowmachine.runtime.projector import Projector
from flowmachine.stores import Store, opened_store


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How and where an engine runs; everything else is in the FlowMachine."""

    http_host: str
    http_port: int
    advertise: str | None
    """`host:port` under which other engines reach this one; None: the host and port that it listens on."""
    is_embedded: bool
    """Keep the log in a file of `data_dir`, whatever the channels say."""
    data_dir: Path
    secrets_dir: Path
    """Where the keys of Kubernetes Secrets are mounted, as `{name}/{key}`."""
    is_projecting: bool = True
    """Keep the store up to date from here; otherwise `flowmachine project` does it."""


@dataclass(frozen=True, slots=True)
class StartedEngine:
    """An engine that listens; it may still be waiting for its log."""

    url: str
    log: str
    engine: Engine


async def run_engine(
    resource: FlowMachine, options: RunOptions, *, on_started: Callable[[StartedEngine], None] | None = None
) -> None:
    """Run until SIGTERM or SIGINT, then drain. Raises ConfigurationError for what the user must change."""
    engine_task: asyncio.Task[None] | None = None
    async with wired(resource, options) as (engine, lifecycle, port):

        def drain() -> None:
            lifecycle.drain()
            engine.stop()

        with _signals(drain):
            engine_task = asyncio.create_task(engine.run(options.advertise or _address(options.http_host, port)))
            lifecycle.watch(engine_task)
            if on_started is not None:
                on_started(
                    StartedEngine(
                        f"http://{_bracketed(options.http_host)}:{port}", describe_log(resource, options), engine
                    )
                )
            await engine_task


@asynccontextmanager
async def wired(resource: FlowMachine, options: RunOptions) -> AsyncGenerator[tuple[Engine, Lifecycle, int]]:
    """An engine, not yet running, behind its HTTP server; gives the port that it listens on."""
    machine = build_machine(resource, JavaScriptHooks())
    settings = resource.spec.settings
    observer = PrometheusObserver(version=__version__, machine=machine.name, revision=machine.revision)
    async with open_session() as session, opened_store(resource, options.secrets_dir, session) as store:
        projector = None
        if store is not None and options.is_projecting:
            projector = build_projector(resource, options, store, observer.store)
        engine = Engine(
            log=build_log(resource, options),
            machine=machine,
            settings=EngineSettings(
                command_topics={c.id: c.kafka.output_topics for c in resource.spec.channels if c.kafka},
                retention_finished_ms=settings.retention.finished_ms,
                batch=BatchSettings(settings.batch.max_records, settings.batch.linger_ms),
                delivery=DeliverySettings(settings.rest.attempts_max, settings.rest.side_effect_attempts_max),
            ),
            observer=observer,
            clock=wall_clock,
            senders=_senders(resource, options, session),
        )
        lifecycle = Lifecycle()
        peers = HttpPeerReader(session)
        listing = EngineListing(engine, peers)
        application = build_application(
            Gateway(engine, GatewaySettings(settings.saga_id_prefix, settings.align_partitioners), peers),
            StoreListing(store.queries) if store is not None and store.queries is not None else listing,
            listing,
            engine,
            resource.spec.machine.model_dump(mode="json", by_alias=True, exclude_none=True),
            dump_document(resource, reveal_secrets=False),
            observer.render,
            ApiSettings(machine.name, __version__, settings.http.body_max_bytes),
            lifecycle=lifecycle,
            store_status=lambda: None if projector is None else projector.status(),
        )
        async with (
            run_server(application, options.http_host, options.http_port) as port,
            _projecting(engine, projector),
        ):
            yield engine, lifecycle, port


@asynccontextmanager
async def _projecting(engine: Engine, projector: Projector | None) -> AsyncGenerator[None]:
    """The projector beside an engine, which makes the topics first."""

    async def run() -> None:
        if projector is not None:
            await engine.log_started.wait()
            await projector.run()

    task = asyncio.create_task(run(), name="projector")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run_projector(
    resource: FlowMachine, options: RunOptions, *, on_started: Callable[[str, str], None] | None = None
) -> None:
    """Keep the store up to date without an engine, until SIGTERM or SIGINT. Raises ConfigurationError.

    `on_started` is told the URL of the probes and metrics, and which log it is.
    """
    machine = build_machine(resource)
    observer = PrometheusObserver(version=__version__, machine=machine.name, revision=machine.revision)
    stopped = asyncio.Event()
    async with open_session() as session, opened_store(resource, options.secrets_dir, session) as store:
        if store is None:
            message = "there is no store to keep up to date: set `persistence.type`"
            raise ConfigurationError.of("spec.persistence.type", "no-store", message)
        projector = build_projector(resource, options, store, observer.store)
        application = build_probes(projector.status, observer.render, ApiSettings(machine.name, __version__))
        with _signals(stopped.set):
            async with run_server(application, options.http_host, options.http_port) as port:
                task = asyncio.create_task(projector.run(), name="projector")
                if on_started is not None:
                    on_started(f"http://{_bracketed(options.http_host)}:{port}", describe_log(resource, options))
                await stopped.wait()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def build_projector(resource: FlowMachine, options: RunOptions, store: Store, observer: StoreObserver) -> Projector:
    """The projector of a machine's store."""
    group = f"{consumer_group(resource)}-projector"
    topic = f"{topic_stem(resource)}.sagas"
    kafka = kafka_channels(resource)
    changes: SagaChanges
    if options.is_embedded or not kafka:
        changes = EmbeddedChanges(embedded_path(resource, options), topic=topic, group=group)
    else:
        changes = KafkaChanges(kafka_connection(resource, kafka[0], options.secrets_dir), topic=topic, group=group)
    return Projector(kind=store.kind, changes=changes, store=store.store, observer=observer, clock=wall_clock)


def _address(host: str, port: int) -> str:
    """Where others reach a server that listens on `host`."""
    return f"{socket.gethostname() if host in ('0.0.0.0', '::') else _bracketed(host)}:{port}"  # noqa: S104


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def build_log(resource: FlowMachine, options: RunOptions) -> Log:
    """Kafka where a channel has it, unless the options ask for the embedded log."""
    kafka = kafka_channels(resource)
    stem = topic_stem(resource)
    inputs = tuple(dict.fromkeys(topic for channel in kafka for topic in channel.input_topics))
    outputs = tuple(dict.fromkeys(topic for channel in kafka for topic in channel.output_topics))
    groups = {topic: channel.consumer_group for channel in kafka for topic in channel.input_topics}
    group = consumer_group(resource)
    settings = resource.spec.settings
    if options.is_embedded or not kafka:
        options.data_dir.mkdir(parents=True, exist_ok=True)
        return EmbeddedLog(
            embedded_path(resource, options),
            names=EmbeddedTopicNames(f"{stem}.intake", f"{stem}.sagas", f"{stem}.unmatched"),
            inputs=inputs,
            outputs=outputs,
            group=group,
            home_partitions=settings.home_partitions or 4,
        )
    names = TopicNames(
        intake=f"{stem}.intake",
        sagas=f"{stem}.sagas",
        unmatched=f"{stem}.unmatched",
        inputs=inputs,
        outputs=outputs,
        create=settings.internal_topics.create,
        home_partitions=settings.home_partitions,
        replication_factor=settings.internal_topics.replication_factor,
        min_insync_replicas=settings.internal_topics.min_in_sync_replicas,
    )
    connection = kafka_connection(resource, kafka[0], options.secrets_dir)
    legacy_groups = {topic: name for topic, name in groups.items() if name and name != group}
    return KafkaLog(KafkaLogSettings(connection, names, group, legacy_groups))


def describe_log(resource: FlowMachine, options: RunOptions) -> str:
    """Which log it is, for people."""
    kafka = kafka_channels(resource)
    if options.is_embedded or not kafka:
        return f"embedded log {embedded_path(resource, options)}"
    return f"Kafka {','.join(_brokers(kafka[0], options.secrets_dir))}"


def embedded_path(resource: FlowMachine, options: RunOptions) -> Path:
    """The file of a machine's embedded log."""
    return options.data_dir / f"{resource.metadata.name}.db"


def kafka_channels(resource: FlowMachine) -> list[KafkaChannel]:
    """The Kafka channels of a machine, in the order of its file."""
    return [channel.kafka for channel in resource.spec.channels if channel.kafka is not None]


def consumer_group(resource: FlowMachine) -> str:
    """The group that reads the inputs: the first that a channel with input topics names."""
    groups = (channel.consumer_group for channel in kafka_channels(resource) if channel.input_topics)
    return next((name for name in groups if name), topic_stem(resource))


def topic_stem(resource: FlowMachine) -> str:
    """What a machine's own topics are called; the namespace keeps machines of one name on one Kafka apart."""
    metadata = resource.metadata
    owner = f"{metadata.namespace}." if metadata.namespace else ""
    return f"{resource.spec.settings.internal_topics.prefix}{owner}{metadata.name}"


def _brokers(channel: KafkaChannel, secrets_dir: Path) -> tuple[str, ...]:
    if isinstance(channel.brokers, SecretKeyRef | SecretFile):
        return tuple(
            address.strip() for address in read_secret(channel.brokers, secrets_dir).split(",") if address.strip()
        )
    return channel.brokers


def kafka_connection(resource: FlowMachine, channel: KafkaChannel, secrets_dir: Path) -> KafkaConnection:
    """How to reach a channel's brokers. Raises ConfigurationError for a secret or certificate that cannot be read."""
    sasl = None
    if channel.sasl is not None:
        if channel.sasl.username is None or channel.sasl.password is None:
            text = f"{channel.sasl.mechanism} is not supported yet; use plain, scram-sha-256 or scram-sha-512"
            raise ConfigurationError.of("spec.channels", "sasl-unsupported", text)
        sasl = Sasl(
            mechanism=channel.sasl.mechanism.upper(),
            username=read_secret(channel.sasl.username, secrets_dir),
            password=read_secret(channel.sasl.password, secrets_dir),
        )
    return KafkaConnection(
        brokers=_brokers(channel, secrets_dir),
        client_id=f"flowmachine-{resource.metadata.name}",
        tls=read_tls(channel.tls, secrets_dir, where="spec.channels"),
        sasl=sasl,
    )


def _senders(resource: FlowMachine, options: RunOptions, session: aiohttp.ClientSession) -> dict[str, CommandSender]:
    settings = resource.spec.settings.rest
    slots = HostSlots(settings.concurrency_per_host)
    senders: dict[str, CommandSender] = {}
    for channel in resource.spec.channels:
        if channel.rest is None:
            continue
        rest = channel.rest
        endpoint = RestEndpoint(
            host=rest.host,
            protocol=rest.protocol,
            port=rest.port,
            path=rest.path,
            method=rest.method,
            headers={name: read_secret(value, options.secrets_dir) for name, value in rest.headers.items()},
            tls=read_tls(rest.tls, options.secrets_dir, where=f"channel {channel.id!r}"),
            timeout_seconds=settings.timeout_seconds,
        )
        senders[channel.id] = RestSender(endpoint, session, slots)
    return senders


@contextlib.contextmanager
def _signals(handle: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
