"""The one place that chooses adapters and wires them: a FlowMachine and options in, a running engine out."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flowmachine import __version__
from flowmachine.adapters.embedded.changes import EmbeddedChanges
from flowmachine.adapters.embedded.log import EmbeddedLog, wall_clock
from flowmachine.adapters.files import read_secret, watch
from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.adapters.kafka import KafkaChanges, KafkaCredentials, KafkaLog, KafkaLogSettings, topic_names
from flowmachine.adapters.opentelemetry import opened_tracer
from flowmachine.adapters.prometheus import PrometheusObserver
from flowmachine.adapters.rest import HostSlots, HttpPeerReader, open_session
from flowmachine.api.server import ApiSettings, BearerTokens, Lifecycle, build_application, build_probes, run_server
from flowmachine.config.build import build_machine
from flowmachine.config.resource import FlowMachine, dump_document
from flowmachine.config.topic_names import (
    consumer_group,
    input_groups,
    input_topics,
    internal_topics,
    kafka_channels,
    output_topics,
)
from flowmachine.connections import KafkaAccess, RestAccess, read_brokers
from flowmachine.errors import ConfigurationError
from flowmachine.ports import Log, SagaChanges, StoreObserver
from flowmachine.runtime.delivery import DeliverySettings
from flowmachine.runtime.engine import Engine, EngineSettings
from flowmachine.runtime.gateway import Gateway, GatewaySettings
from flowmachine.runtime.listing import EngineListing, StoreListing
from flowmachine.runtime.partition_task import BatchSettings
from flowmachine.runtime.projector import Projector
from flowmachine.runtime.read_through import ReadThrough
from flowmachine.stores import Store, opened_store

Background = Callable[[], Coroutine[None, None, None]]
"""Runs beside an engine until it is cancelled."""


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
    async with (
        open_session() as session,
        opened_store(resource, options.secrets_dir, session) as store,
        opened_tracer(os.environ, machine=machine.name, revision=machine.revision, version=__version__) as tracer,
    ):
        access = kafka_access(resource, options)
        log = build_log(resource, options, access)
        projector = None
        if store is not None and options.is_projecting:
            projector = build_projector(resource, options, access, store, observer.store)
        read_through = None
        if store is not None and resource.spec.persistence.read_through:
            read_through = ReadThrough(kind=store.kind, store=store.store, observer=observer.store)
        rest = _rest_accesses(resource, options)
        slots = HostSlots(settings.rest.concurrency_per_host)
        senders = {channel: endpoint.open(session, slots) for channel, endpoint in rest.items()}
        engine = Engine(
            log=log,
            machine=machine,
            settings=_engine_settings(resource, is_kafka=isinstance(log, KafkaLog)),
            observer=observer,
            clock=wall_clock,
            senders=senders,
            read_through=read_through,
            tracer=tracer,
        )
        background: list[Background] = [partial(rest[channel].watch, sender) for channel, sender in senders.items()]
        if access is not None and isinstance(log, KafkaLog):
            background.append(partial(access.watch, partial(_renew, log, engine)))
        if projector is not None:
            background.append(partial(_project, engine, projector))
        if read_through is not None:
            background.append(read_through.run)
        lifecycle = Lifecycle()
        tokens = BearerTokens(_read_tokens(resource, options.secrets_dir))
        background.append(partial(_watch_tokens, tokens, resource, options.secrets_dir))
        peers = HttpPeerReader(session, token=lambda: tokens.own)
        listing = EngineListing(engine, peers)
        application = build_application(
            Gateway(engine, GatewaySettings(settings.saga_id_prefix, settings.align_partitioners), peers, peers),
            StoreListing(store.queries) if store is not None and store.queries is not None else listing,
            listing,
            engine,
            resource.spec.machine.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True),
            dump_document(resource, reveal_secrets=False),
            observer.render,
            ApiSettings(
                machine.name,
                __version__,
                settings.http.body_max_bytes,
                throws_on_unexpected_events=settings.throw_on_unexpected_events,
                cors_origins=settings.http.cors_origins,
                is_tracing=tracer is not None,
            ),
            lifecycle=lifecycle,
            tokens=tokens,
            store_status=lambda: None if projector is None else projector.status(),
        )
        async with run_server(application, options.http_host, options.http_port) as port, _running(background):
            yield engine, lifecycle, port


def _engine_settings(resource: FlowMachine, *, is_kafka: bool) -> EngineSettings:
    settings = resource.spec.settings
    return EngineSettings(
        command_topics={c.id: c.kafka.output_topics for c in resource.spec.channels if c.kafka},
        retention_finished_ms=settings.retention.finished_ms,
        has_command_ids=settings.delivery == "atLeastOnce" and is_kafka,
        batch=BatchSettings(settings.batch.max_records, settings.batch.linger_ms),
        delivery=DeliverySettings(settings.rest.attempts_max, settings.rest.side_effect_attempts_max),
    )


async def _renew(log: KafkaLog, engine: Engine, credentials: KafkaCredentials) -> None:
    await log.renew(credentials)
    engine.reopen()


def _read_tokens(resource: FlowMachine, secrets_dir: Path) -> tuple[str, ...]:
    return tuple(
        read_secret(token, secrets_dir, where=f"spec.settings.http.tokens[{index}]")
        for index, token in enumerate(resource.spec.settings.http.tokens)
    )


async def _watch_tokens(tokens: BearerTokens, resource: FlowMachine, secrets_dir: Path) -> None:
    async def use(found: tuple[str, ...]) -> None:
        tokens.tokens = found

    await watch("spec.settings.http.tokens", partial(_read_tokens, resource, secrets_dir), tokens.tokens, use)


async def _project(engine: Engine, projector: Projector) -> None:
    await engine.log_started.wait()  # the engine makes the topics
    await projector.run()


@asynccontextmanager
async def _running(background: list[Background]) -> AsyncGenerator[None]:
    """These run for as long as the block."""
    tasks = [asyncio.create_task(run()) for run in background]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
        access = kafka_access(resource, options)
        projector = build_projector(resource, options, access, store, observer.store)
        background: list[Background] = [projector.run] if access is None else [projector.run, access.watch]
        application = build_probes(projector.status, observer.render, ApiSettings(machine.name, __version__))
        with _signals(stopped.set):
            async with run_server(application, options.http_host, options.http_port) as port, _running(background):
                if on_started is not None:
                    on_started(f"http://{_bracketed(options.http_host)}:{port}", describe_log(resource, options))
                await stopped.wait()


def build_projector(
    resource: FlowMachine, options: RunOptions, access: KafkaAccess | None, store: Store, observer: StoreObserver
) -> Projector:
    """The projector of a machine's store."""
    group = f"{consumer_group(resource)}-projector"
    topic = internal_topics(resource).sagas
    changes: SagaChanges
    if access is None:
        changes = EmbeddedChanges(embedded_path(resource, options), topic=topic, group=group)
    else:
        changes = KafkaChanges(access.connection, topic=topic, group=group)
    return Projector(kind=store.kind, changes=changes, store=store.store, observer=observer, clock=wall_clock)


def _address(host: str, port: int) -> str:
    """Where others reach a server that listens on `host`."""
    return f"{socket.gethostname() if host in ('0.0.0.0', '::') else _bracketed(host)}:{port}"  # noqa: S104


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def kafka_access(resource: FlowMachine, options: RunOptions) -> KafkaAccess | None:
    """How Kafka is reached where a channel has it, unless the options ask for the embedded log."""
    if options.is_embedded or not kafka_channels(resource):
        return None
    return KafkaAccess(resource, options.secrets_dir)


def build_log(resource: FlowMachine, options: RunOptions, access: KafkaAccess | None) -> Log:
    """Kafka if there is access to it, else the embedded log."""
    group = consumer_group(resource)
    if access is None:
        options.data_dir.mkdir(parents=True, exist_ok=True)
        return EmbeddedLog(
            embedded_path(resource, options),
            names=internal_topics(resource),
            inputs=input_topics(resource),
            outputs=output_topics(resource),
            group=group,
            home_partitions=resource.spec.settings.home_partitions or 4,
        )
    legacy_groups = {topic: name for topic, name in input_groups(resource).items() if name != group}
    is_direct = resource.spec.settings.delivery == "atLeastOnce"
    return KafkaLog(
        KafkaLogSettings(access.connection, topic_names(resource), group, legacy_groups, is_direct=is_direct)
    )


def describe_log(resource: FlowMachine, options: RunOptions) -> str:
    """Which log it is, for people."""
    kafka = kafka_channels(resource)
    if options.is_embedded or not kafka:
        return f"embedded log {embedded_path(resource, options)}"
    return f"Kafka {','.join(read_brokers(kafka[0], options.secrets_dir, where='spec.channels'))}"


def embedded_path(resource: FlowMachine, options: RunOptions) -> Path:
    """The file of a machine's embedded log."""
    return options.data_dir / f"{resource.metadata.name}.db"


def _rest_accesses(resource: FlowMachine, options: RunOptions) -> dict[str, RestAccess]:
    timeout_seconds = resource.spec.settings.rest.timeout_seconds
    return {
        channel.id: RestAccess(
            channel.rest,
            options.secrets_dir,
            where=f"spec.channels[{index}].rest",
            timeout_seconds=timeout_seconds,
        )
        for index, channel in enumerate(resource.spec.channels)
        if channel.rest is not None
    }


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
