"""Why the brokers cannot be reached. aiokafka's clients only say "unable to bootstrap", whatever the reason."""

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn

from flowmachine.adapters.kafka.connection import KafkaConnection
from flowmachine.adapters.kafka.errors import translate, translated
from flowmachine.errors import ConfigurationError, TransientError

_SHARED_ARGUMENTS = ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms")


async def connect(connection: KafkaConnection, admin: AIOKafkaAdminClient) -> None:
    """Start a client. Raises ConfigurationError or TransientError with the reason of each broker that refused."""
    doing = f"connecting to {connection.address}"
    try:
        with translated(doing):
            await admin.start()
    except TransientError as error:
        reasons = {broker: await _try(connection, broker) for broker in connection.brokers}
        for reason in reasons.values():
            if isinstance(reason, ConfigurationError):
                raise reason from error
        said = "; ".join(f"{broker}: {reason}" for broker, reason in reasons.items() if reason is not None)
        raise TransientError(f"{doing}: {said}" if said else str(error)) from error


async def _try(connection: KafkaConnection, broker: str) -> Exception | None:
    host, _, port = broker.rpartition(":")
    arguments = {name: value for name, value in connection.client_arguments().items() if name not in _SHARED_ARGUMENTS}
    try:
        opened = await create_conn(host, int(port), **arguments)
    except (kafka.KafkaError, OSError, TimeoutError, ValueError) as error:
        reason = translate(error, f"connecting to {broker}")
        return reason if isinstance(reason, ConfigurationError) else error
    opened.close()
    return None
