"""Real Kafka for test suites: fixtures, and small asynchronous ways to put records in and get records out.

Fixtures (re-export them from tests/conftest.py, or name this module in `pytest_plugins`):

kafka_broker         one PLAINTEXT broker for the whole session, or the one at FLOWMACHINE_TEST_KAFKA_BOOTSTRAP
kafka_secure_broker  one broker for the session with SASL, TLS and ACLs
kafka_cluster        a function that starts clusters of the test's own, to kill, pause and restart their brokers

Tests share the session's broker, so each takes names of its own from `unique_name`. Without Java or Maven the tests are
skipped with a sentence that says what to install; with CI=true they fail instead.
"""

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaTimeoutError, for_code
from aiokafka.structs import ConsumerRecord

from dev.kafka import ClusterSettings, KafkaCluster
from dev.kafka.wire import fetch_broker_ids
from tests.support.tools import skipped_without_tools

BOOTSTRAP_VARIABLE = "FLOWMACHINE_TEST_KAFKA_BOOTSTRAP"
Headers = Sequence[tuple[str, bytes]]
Record = ConsumerRecord[bytes | None, bytes | None]
StartCluster = Callable[..., KafkaCluster]

_REPLICAS_MAX = 3
_TOPIC_SECONDS_MAX = 15.0  # a topic is led by all its brokers within 0.2 s, unless the machine is very busy
_POLL_SECONDS = 0.05
_FETCH_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class KafkaBroker:
    """The broker of a session; `cluster` is None when the environment named it."""

    bootstrap: str
    cluster: KafkaCluster | None

    def own_cluster(self) -> KafkaCluster:
        """Return the cluster behind the address, or skip the test if it is not ours."""
        if self.cluster is None:
            pytest.skip(f"needs a broker of our own, not the one of {BOOTSTRAP_VARIABLE}")
        return self.cluster


# --- Fixtures ----------------------------------------------------------------------------------------------------


def start_test_broker(**settings: Any) -> KafkaCluster:
    """Start brokers on free ports in a temporary folder; takes the fields of `ClusterSettings`.

    Skips the test when Java or Maven are missing. The caller closes the cluster.
    """
    cluster = KafkaCluster(ClusterSettings(**({"quick_jvm": True} | settings)))
    try:
        with skipped_without_tools(f"Or name a broker in {BOOTSTRAP_VARIABLE}."):
            cluster.start()
    except BaseException:
        cluster.close()
        raise
    return cluster


def find_session_broker() -> KafkaBroker | None:
    """Return the broker that the environment names; None when it names none, a failed test when it is silent."""
    bootstrap = os.environ.get(BOOTSTRAP_VARIABLE)
    if not bootstrap:
        return None
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    try:
        fetch_broker_ids(host, int(port), timeout_seconds=5.0)
    except (OSError, ValueError) as error:
        pytest.fail(f"{BOOTSTRAP_VARIABLE}={bootstrap} is no PLAINTEXT broker that answers: {error}", pytrace=False)
    return KafkaBroker(bootstrap, None)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """One broker for all tests of the session."""
    named = find_session_broker()
    if named is not None:
        yield named
        return
    cluster = start_test_broker()
    yield KafkaBroker(cluster.bootstrap, cluster)
    cluster.close()


@pytest.fixture(scope="session")
def kafka_secure_broker() -> Iterator[KafkaCluster]:
    """One broker for the session with SASL_PLAINTEXT, SSL, SASL_SSL, and ACLs for the users `alice` and `bob`."""
    cluster = start_test_broker(sasl=True, tls=True, authorizer=True)
    yield cluster
    cluster.close()


@pytest.fixture
def kafka_cluster() -> Iterator[StartCluster]:
    """Start clusters for one test, e.g. `kafka_cluster(brokers=3)`; all end with the test."""
    started: list[KafkaCluster] = []

    def start(**settings: Any) -> KafkaCluster:
        cluster = start_test_broker(**settings)
        started.append(cluster)
        return cluster

    yield start
    for cluster in started:
        cluster.close()


# --- Clients -----------------------------------------------------------------------------------------------------


def unique_name(prefix: str) -> str:
    """Return a name that no other test, and no earlier run against the same broker, uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def sasl_options(user: str, password: str, mechanism: str = "SCRAM-SHA-256") -> dict[str, Any]:
    """Return the client options for a SASL_PLAINTEXT listener."""
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }


def tls_options(cluster: KafkaCluster, *, with_client_certificate: bool = False) -> dict[str, Any]:
    """Return the client options for an SSL listener; the server's certificate and name are checked."""
    context = ssl.create_default_context(cafile=cluster.tls.ca)
    if with_client_certificate:
        context.load_cert_chain(cluster.tls.client_certificate, cluster.tls.client_key)
    return {"security_protocol": "SSL", "ssl_context": context}


@asynccontextmanager
async def admin_client(bootstrap: str, **client_options: Any) -> AsyncGenerator[AIOKafkaAdminClient, None]:
    """Open an admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **client_options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def create_topics(
    bootstrap: str,
    topics: Mapping[str, int],
    *,
    configs: Mapping[str, str] | None = None,
    replication_factor: int | None = None,
    **client_options: Any,
) -> None:
    """Create topics (name -> partitions) and wait until every partition has a leader on a broker that answers.

    Replicas default to one per broker, three at most. An error of the broker is raised as aiokafka's exception.
    """
    async with admin_client(bootstrap, **client_options) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = replication_factor or min(brokers, _REPLICAS_MAX)
        wishes = [
            NewTopic(name, partitions, replicas, topic_configs=dict(configs or {}))
            for name, partitions in topics.items()
        ]
        response = await admin.create_topics(wishes)
        for answer in response.to_object()["topic_errors"]:
            if answer["error_code"] != 0:
                raise for_code(answer["error_code"])(f"{answer['topic']}: {answer['error_message']}")
        await _wait_for_leaders(admin, topics)


async def _wait_for_leaders(admin: AIOKafkaAdminClient, topics: Mapping[str, int]) -> None:
    deadline = time.monotonic() + _TOPIC_SECONDS_MAX
    while True:
        described = await admin.describe_topics(list(topics))
        led = {
            topic["topic"]: sum(partition["leader"] >= 0 and not partition["error_code"] for partition in partitions)
            for topic in described
            for partitions in [topic["partitions"]]
        }
        if led == dict(topics):
            return
        if time.monotonic() > deadline:
            message = f"Partitions with a leader after {_TOPIC_SECONDS_MAX:.0f} s: {led}, wanted {dict(topics)}"
            raise TimeoutError(message)
        await asyncio.sleep(_POLL_SECONDS)


async def wait_for_coordinator(bootstrap: str, group: str) -> None:
    """Return once the broker answers for a consumer group: a young one makes the topic of offsets first."""
    deadline = time.monotonic() + _TOPIC_SECONDS_MAX
    async with admin_client(bootstrap) as admin:
        while True:
            try:
                await admin.find_coordinator(group)
            except (GroupCoordinatorNotAvailableError, KafkaTimeoutError):
                assert time.monotonic() < deadline, f"no coordinator of {group} in {_TOPIC_SECONDS_MAX:.0f} s"
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


async def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None, int | None, Headers]],
    **client_options: Any,
) -> list[int]:
    """Send records (key, value, partition or None, headers), acknowledged by all replicas; return their offsets."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0, **client_options)
    try:
        await producer.start()
        sent = [
            await producer.send(topic, key=key, value=value, partition=partition, headers=list(headers))
            for key, value, partition, headers in records
        ]
        return [metadata.offset for metadata in await asyncio.gather(*sent)]
    finally:
        await producer.stop()


async def read_all(
    bootstrap: str,
    topic: str,
    *,
    isolation_level: str = "read_committed",
    until: Callable[[Sequence[Record]], bool] | None = None,
    is_decided: bool = False,
    timeout_seconds: float = 15.0,
    **client_options: Any,
) -> list[Record]:
    """Read a topic from its beginning; records keep their order within a partition.

    Without `until`: what the topic holds now (with read_committed up to the first open transaction). With `is_decided`
    that is waited for to be committed or aborted: a commit returns before its markers are written, and until then it
    cannot be read. With `until`: as soon as the condition holds for all records read so far; TimeoutError says how many
    there were if it never does.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        **client_options,
    )
    found: list[Record] = []
    try:
        async with asyncio.timeout(timeout_seconds):
            async with admin_client(bootstrap, **client_options) as admin:
                (described,) = await admin.describe_topics([topic])
            if described["error_code"]:
                raise for_code(described["error_code"])(topic)
            partitions = [TopicPartition(topic, item["partition"]) for item in described["partitions"]]
            await consumer.start()
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends: Mapping[TopicPartition, int] = {}
            if is_decided:
                async with AIOKafkaConsumer(bootstrap_servers=bootstrap, **client_options) as uncommitted:
                    ends = await uncommitted.end_offsets(partitions)
            elif until is None:
                ends = await consumer.end_offsets(partitions)
            while not (until(found) if until else await _has_reached(consumer, ends)):
                for batch in (await consumer.getmany(*partitions, timeout_ms=_FETCH_WAIT_MS)).values():
                    found.extend(batch)
    except TimeoutError as error:
        message = f"{topic}: {len(found)} records after {timeout_seconds:.0f} s, and the end or condition not reached"
        raise TimeoutError(message) from error
    finally:
        await consumer.stop()
    return found


async def _has_reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True
