"""Why the brokers cannot be reached. aiokafka's clients only say "unable to bootstrap", whatever the reason."""

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiokafka import errors as kafka
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.admin import ApiVersionRequest

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.errors import translate, translated
from flowmachine.errors import ConfigurationError, TransientError

_SILENT = "no Kafka broker answers ({}): is it up, and are these its addresses?"
_SHARED_ARGUMENTS = ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms")


@asynccontextmanager
async def connected_admin(connection: KafkaConnection) -> AsyncGenerator[AIOKafkaAdminClient]:
    """A client for administration. Raises ConfigurationError or TransientError and says why."""
    arguments = connection.client_arguments()
    del arguments["metadata_max_age_ms"]
    admin = AIOKafkaAdminClient(**arguments)
    try:
        await _connect(connection, admin)
        yield admin
    finally:
        await stop_client(admin)


async def _connect(connection: KafkaConnection, admin: AIOKafkaAdminClient) -> None:
    if isinstance(connection.credentials.sasl, AbstractTokenProvider):
        await _find_reasons(
            connection
        )  # aiokafka's client starts even if its token is refused, and knows no broker then
    try:
        with translated(f"connecting to {connection.address}"):
            await admin.start()
    except TransientError as error:
        said = await _find_reasons(connection)
        raise TransientError(_SILENT.format(said) if said else str(error)) from error


async def _find_reasons(connection: KafkaConnection) -> str:
    """What each broker that cannot be reached said. Raises ConfigurationError if one of them refuses us."""
    reasons = {broker: await _try(connection, broker) for broker in connection.brokers}
    for reason in reasons.values():
        if isinstance(reason, ConfigurationError):
            raise reason
    is_tls = connection.credentials.tls is not None
    told = {broker: _describe(reason, is_tls=is_tls) for broker, reason in reasons.items() if reason is not None}
    return "; ".join(f"{broker}: {reason}" for broker, reason in told.items())


def _describe(error: Exception, *, is_tls: bool) -> str:
    if isinstance(error, ssl.SSLError):  # a certificate that is not trusted, for example
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:  # asyncio repeats the address in `strerror`
        return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
    if isinstance(error, kafka.KafkaConnectionError) or not str(error):
        if is_tls:
            return "it closed the connection; perhaps it asks for a client certificate, or does not accept this one"
        return "it does not answer as a broker does; perhaps it is none, or wants TLS"
    return str(error)


async def _try(connection: KafkaConnection, broker: str) -> Exception | None:
    host, _, port = broker.rpartition(":")
    arguments = {name: value for name, value in connection.client_arguments().items() if name not in _SHARED_ARGUMENTS}
    try:
        opened = await create_conn(host, int(port), **arguments)
        try:
            if isinstance(connection.credentials.sasl, AbstractTokenProvider):
                await _use(opened)
        finally:
            opened.close()
    except (kafka.KafkaError, OSError, TimeoutError, ValueError) as error:
        reason = translate(error, f"connecting to {broker}")
        return reason if isinstance(reason, ConfigurationError) else error
    return None


async def _use(opened: AIOKafkaConnection) -> None:
    """Raise AuthenticationFailedError if the token was refused.

    aiokafka takes no notice of that answer; the next request is then refused, too.
    """
    try:
        answered = await opened.send(ApiVersionRequest())
    except kafka.KafkaConnectionError:
        answered = None
    if answered is None or answered.error_code:
        raise kafka.AuthenticationFailedError("the token")
