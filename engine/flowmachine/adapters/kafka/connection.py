"""How to reach the brokers: one set of arguments for every client that the engine opens."""

import ssl
from dataclasses import dataclass, field
from typing import Any

METADATA_MAX_AGE_MS = 30_000
"""New partitions of an input topic are noticed within half a minute."""
REQUEST_TIMEOUT_MS = 15_000
RETRY_BACKOFF_MS = 10
"""aiokafka's 100 ms stands between a transaction and the next while markers are being written."""


@dataclass(frozen=True, slots=True)
class Sasl:
    """Credentials. `mechanism` is Kafka's name: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""

    mechanism: str
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Brokers as `host:port`, and what they demand."""

    brokers: tuple[str, ...]
    client_id: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    sasl: Sasl | None = None

    @property
    def address(self) -> str:
        """The brokers, for people."""
        return ",".join(self.brokers)

    def client_arguments(self) -> dict[str, Any]:
        """Arguments that all aiokafka clients share."""
        protocol = {
            (False, False): "PLAINTEXT",
            (True, False): "SSL",
            (False, True): "SASL_PLAINTEXT",
            (True, True): "SASL_SSL",
        }[(self.tls is not None, self.sasl is not None)]
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "client_id": self.client_id,
            "security_protocol": protocol,
            "ssl_context": self.tls,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
            "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        }
        if self.sasl is not None:
            arguments |= {
                "sasl_mechanism": self.sasl.mechanism,
                "sasl_plain_username": self.sasl.username,
                "sasl_plain_password": self.sasl.password,
            }
        return arguments
