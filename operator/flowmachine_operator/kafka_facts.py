"""Asks Kafka as the machine's engines do: with their code, their credentials and their topics.

The engine's adapter is used as it is, not written a second time: both must find the same topics missing, create the
same ones, and get in with the same credentials. It reads secrets from files, so they are laid out for it as they are in
the engines' pods, in a folder that is gone when the question is answered (the chart mounts /tmp in memory).
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from flowmachine.adapters.kafka import KafkaConnection
from flowmachine.adapters.kafka.topics import TopicsMissingError, delete_topics, prepare_topics, topic_names
from flowmachine.config.channels import KafkaChannel
from flowmachine.config.resource import FlowMachine, SecretFile
from flowmachine.config.topic_names import internal_topics, kafka_channels
from flowmachine.connections import KafkaAccess
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine_operator.plan.facts import KafkaAnswer, KafkaFacts

ASK_SECONDS_MAX: Final = 20.0
"""A broker that lives answers within seconds, also when topics have to be created first."""

SecretData = Mapping[tuple[str, str], bytes]
"""Content of the Secrets that a machine names, by name and key."""


async def gather_kafka(resource: FlowMachine, secrets: SecretData) -> KafkaFacts:
    """What Kafka says; the internal topics exist afterwards, unless the machine is told to expect them."""
    if any(_has_file(channel) for channel in kafka_channels(resource)):
        message = (
            "the credentials for Kafka are in files of the engines' pods, so only the engines can ask it: set "
            "scaling.replicas, or use secretKeyRef"
        )
        return KafkaFacts(KafkaAnswer.NOT_ASKED, message)
    try:
        async with asyncio.timeout(ASK_SECONDS_MAX), _connection(resource, secrets) as connection:
            topics = await prepare_topics(connection, topic_names(resource))
    except TopicsMissingError as error:
        return KafkaFacts(KafkaAnswer.REACHABLE, missing_topics=error.topics)
    except ConfigurationError as error:
        return KafkaFacts(KafkaAnswer.REFUSED, str(error))
    except TransientError as error:
        return KafkaFacts(KafkaAnswer.UNREACHABLE, str(error))
    except TimeoutError:
        return KafkaFacts(KafkaAnswer.UNREACHABLE, f"no answer within {ASK_SECONDS_MAX:.0f} s")
    return KafkaFacts(
        KafkaAnswer.REACHABLE, input_partitions=topics.input_partitions, home_partitions=topics.home_partitions
    )


async def remove_topics(resource: FlowMachine, secrets: SecretData) -> str:
    """Delete the internal topics; why they could not be, or nothing when they are gone."""
    try:
        async with asyncio.timeout(ASK_SECONDS_MAX), _connection(resource, secrets) as connection:
            await delete_topics(connection, internal_topics(resource))
    except (ConfigurationError, TransientError) as error:
        return str(error)
    except TimeoutError:
        return f"no answer from Kafka within {ASK_SECONDS_MAX:.0f} s"
    return ""


def _has_file(channel: KafkaChannel) -> bool:
    sasl, tls = channel.sasl, channel.tls
    values = [channel.brokers]
    values += [value for model in (sasl, tls) if model is not None for _, value in model]
    return any(isinstance(value, SecretFile) for value in values)


@asynccontextmanager
async def _connection(resource: FlowMachine, secrets: SecretData) -> AsyncGenerator[KafkaConnection]:
    with tempfile.TemporaryDirectory(prefix="flowmachine-") as folder:
        await asyncio.to_thread(_lay_out, Path(folder), secrets)
        access = await asyncio.to_thread(KafkaAccess, resource, Path(folder))
        yield access.connection


def _lay_out(folder: Path, secrets: SecretData) -> None:
    for (name, key), content in secrets.items():
        path = folder / name / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
