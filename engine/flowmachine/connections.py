"""How a machine's channels are reached: secrets from files, what is made of them, and what happens when they change."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp

from flowmachine.adapters.files import TlsTexts, build_tls_context, read_secret, read_tls, watch
from flowmachine.adapters.kafka import (
    EndpointTokens,
    GivenTokens,
    KafkaConnection,
    KafkaCredentials,
    Sasl,
    TokenEndpoint,
)
from flowmachine.adapters.rest import HostSlots, RestEndpoint, RestSender
from flowmachine.config.resource import FlowMachine, KafkaChannel, RestChannel, SecretFile, SecretKeyRef, SecretValue
from flowmachine.config.resource import Sasl as WrittenSasl


@dataclass(frozen=True, slots=True)
class KafkaSecrets:
    """Everything about a Kafka channel that may stand in files; a token is not here, it is read for each connection."""

    tls: TlsTexts | None
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    client_id: str | None = field(repr=False)
    client_secret: str | None = field(repr=False)


class KafkaAccess:
    """How the brokers of a machine are reached; its first Kafka channel says it for all of them."""

    def __init__(self, resource: FlowMachine, secrets_dir: Path) -> None:
        """There must be a Kafka channel. Raises ConfigurationError for what cannot be read or used."""
        index, self._channel = next(
            (index, channel.kafka) for index, channel in enumerate(resource.spec.channels) if channel.kafka is not None
        )
        self._where = f"spec.channels[{index}].kafka"
        self._secrets_dir = secrets_dir
        self._secrets = self._read()
        self.connection = KafkaConnection(
            brokers=read_brokers(self._channel, secrets_dir, where=self._where),
            client_id=f"flowmachine-{resource.metadata.name}",
            credentials=self._build(self._secrets),
        )

    async def watch(self, use: Callable[[KafkaCredentials], Awaitable[None]] | None = None) -> None:
        """Until cancelled: when a secret changes, hand the new credentials to `use`, or else to the connection."""

        async def renew(secrets: KafkaSecrets) -> None:
            if use is None:
                self.connection.credentials = self._build(secrets)
            else:
                await use(self._build(secrets))

        await watch(self._where, self._read, self._secrets, renew)

    def _read(self) -> KafkaSecrets:
        sasl = self._channel.sasl

        def read(value: SecretValue | None, name: str) -> str | None:
            return None if value is None else read_secret(value, self._secrets_dir, where=f"{self._where}.sasl.{name}")

        return KafkaSecrets(
            tls=read_tls(self._channel.tls, self._secrets_dir, where=f"{self._where}.tls"),
            username=read(sasl.username if sasl else None, "username"),
            password=read(sasl.password if sasl else None, "password"),
            client_id=read(sasl.client_id if sasl else None, "clientId"),
            client_secret=read(sasl.client_secret if sasl else None, "clientSecret"),
        )

    def _build(self, secrets: KafkaSecrets) -> KafkaCredentials:
        tls = build_tls_context(secrets.tls, where=f"{self._where}.tls")
        sasl = self._channel.sasl
        if sasl is None:
            return KafkaCredentials(tls)
        if sasl.mechanism == "oauthbearer":
            return KafkaCredentials(tls, self._build_tokens(sasl, secrets))
        assert secrets.username is not None  # `config.references` has seen to it
        assert secrets.password is not None
        return KafkaCredentials(tls, Sasl(sasl.mechanism.upper(), secrets.username, secrets.password))

    def _build_tokens(self, sasl: WrittenSasl, secrets: KafkaSecrets) -> EndpointTokens | GivenTokens:
        if sasl.token is not None:
            return GivenTokens(partial(read_secret, sasl.token, self._secrets_dir, where=f"{self._where}.sasl.token"))
        assert sasl.token_endpoint is not None
        assert secrets.client_id is not None
        assert secrets.client_secret is not None
        tls = build_tls_context(secrets.tls, where=f"{self._where}.tls", trusts_system=True)
        return EndpointTokens(
            TokenEndpoint(sasl.token_endpoint, secrets.client_id, secrets.client_secret, sasl.scope, tls)
        )


def read_brokers(channel: KafkaChannel, secrets_dir: Path, *, where: str) -> tuple[str, ...]:
    """The brokers' addresses. Raises ConfigurationError."""
    if isinstance(channel.brokers, SecretKeyRef | SecretFile):
        text = read_secret(channel.brokers, secrets_dir, where=f"{where}.brokers")
        return tuple(address.strip() for address in text.split(",") if address.strip())
    return channel.brokers


@dataclass(frozen=True, slots=True)
class RestSecrets:
    """Everything about a REST channel that may stand in files."""

    headers: Mapping[str, str] = field(repr=False)
    tls: TlsTexts | None


class RestAccess:
    """How the endpoint of one REST channel is reached."""

    def __init__(self, channel: RestChannel, secrets_dir: Path, *, where: str, timeout_seconds: float) -> None:
        self._channel = channel
        self._where = where
        self._secrets_dir = secrets_dir
        self._timeout_seconds = timeout_seconds
        self._secrets: RestSecrets | None = None

    def open(self, session: aiohttp.ClientSession, slots: HostSlots) -> RestSender:
        """A sender. Raises ConfigurationError for what cannot be read or used."""
        self._secrets = self._read()
        return RestSender(self._build(self._secrets), session, slots)

    async def watch(self, sender: RestSender) -> None:
        """Until cancelled: when a secret changes `sender` uses it."""

        async def renew(secrets: RestSecrets) -> None:
            sender.use(self._build(secrets))

        await watch(self._where, self._read, self._secrets, renew)

    def _read(self) -> RestSecrets:
        return RestSecrets(
            headers={
                name: read_secret(value, self._secrets_dir, where=f"{self._where}.headers.{name}")
                for name, value in self._channel.headers.items()
            },
            tls=read_tls(self._channel.tls, self._secrets_dir, where=f"{self._where}.tls"),
        )

    def _build(self, secrets: RestSecrets) -> RestEndpoint:
        channel = self._channel
        return RestEndpoint(
            host=channel.host,
            protocol=channel.protocol,
            port=channel.port,
            path=channel.path,
            method=channel.method,
            headers=secrets.headers,
            tls=build_tls_context(secrets.tls, where=f"{self._where}.tls"),
            timeout_seconds=self._timeout_seconds,
            where=self._where,
        )
