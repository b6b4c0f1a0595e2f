"""How to reach the brokers: one set of arguments for every client that the engine opens."""

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient

from flowmachine.adapters.kafka.errors import is_asked_to_end

METADATA_MAX_AGE_MS = 30_000
"""New partitions of an input topic are noticed within half a minute."""
REQUEST_TIMEOUT_MS = 15_000
CLOSE_SECONDS = 3.0
"""Over TLS a client waits up to 30 s for the broker's farewell, which does not come when a fetch is on its way."""
RETRY_BACKOFF_MS = 10
"""aiokafka's 100 ms stands between a transaction and the next while markers are being written."""

KafkaClient = AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient

_stopping: set[asyncio.Task[None]] = set()
"""The event loop itself keeps no task alive."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sasl:
    """A user's name and password. `mechanism` is Kafka's name: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""

    mechanism: str
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KafkaCredentials:
    """What the brokers demand: TLS, and a password or (OAUTHBEARER) tokens."""

    tls: ssl.SSLContext | None = field(default=None, repr=False)
    sasl: Sasl | AbstractTokenProvider | None = None


@dataclass(slots=True)
class KafkaConnection:
    """Brokers as `host:port`, and what they demand.

    `credentials` may be exchanged at any time: clients that are opened from then on use the new ones.
    """

    brokers: tuple[str, ...]
    client_id: str
    credentials: KafkaCredentials = field(default_factory=KafkaCredentials)

    @property
    def address(self) -> str:
        """The brokers, for people."""
        return ",".join(self.brokers)

    def client_arguments(self) -> dict[str, Any]:
        """Arguments that all aiokafka clients share."""
        tls, sasl = self.credentials.tls, self.credentials.sasl
        protocol = {
            (False, False): "PLAINTEXT",
            (True, False): "SSL",
            (False, True): "SASL_PLAINTEXT",
            (True, True): "SASL_SSL",
        }[(tls is not None, sasl is not None)]
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "client_id": self.client_id,
            "security_protocol": protocol,
            "ssl_context": tls,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
            "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        }
        if isinstance(sasl, Sasl):
            arguments |= {
                "sasl_mechanism": sasl.mechanism,
                "sasl_plain_username": sasl.username,
                "sasl_plain_password": sasl.password,
            }
        elif sasl is not None:
            arguments |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": sasl}
        return arguments


async def stop_client(client: KafkaClient, *, seconds_max: float = CLOSE_SECONDS) -> None:
    """Stop a client; what takes longer than a moment goes on in the background. Raises nothing."""
    stopping = asyncio.create_task(_stop(client))  # a task of its own: aiokafka both swallows and invents cancellations
    _stopping.add(stopping)
    stopping.add_done_callback(_stopping.discard)
    await asyncio.wait({stopping}, timeout=seconds_max)


async def _stop(client: KafkaClient) -> None:
    try:
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())  # type: ignore[no-untyped-call]
    except (kafka.KafkaError, OSError, AssertionError) as error:
        _log.debug("a client did not stop in order", extra={"reason": repr(error)})
    except asyncio.CancelledError:
        if is_asked_to_end():
            raise
        # aiokafka 0.14 cancels a fetch that pauses after an error, is hit by that itself, and leaves connections open.
        connections: Any = client.client if isinstance(client, AIOKafkaProducer) else getattr(client, "_client")  # noqa: B009
        await connections.close()
