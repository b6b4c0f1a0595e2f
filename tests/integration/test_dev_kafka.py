"""The development brokers and the helpers of tests/support/kafka.py, against real processes."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from dev.addresses import LOOPBACK, find_free_ports
from dev.cache import cache_root
from dev.errors import SettingsError, ToolMissingError
from dev.kafka import ClusterSettings, KafkaCluster
from dev.kafka.provision import provision
from dev.kafka.state import load_state
from dev.kafka.wire import fetch_api_keys, fetch_broker_ids
from dev.processes import ProcessIdentity, identify
from dev.state_file import state_path
from tests.support.kafka import (
    KafkaBroker,
    StartCluster,
    admin_client,
    create_topics,
    produce,
    read_all,
    sasl_options,
    tls_options,
    unique_name,
)

pytestmark = pytest.mark.kafka

_ROOT = Path(__file__).parents[2]
_INIT_PRODUCER_ID = 22
RunCommand = Callable[..., subprocess.CompletedProcess[str]]


# --- The shared broker and the helpers ---------------------------------------------------------------------------


async def test_records_come_back_with_key_headers_and_partition(kafka_broker: KafkaBroker) -> None:
    topic = unique_name("orders")
    await create_topics(kafka_broker.bootstrap, {topic: 3})
    offsets = await produce(
        kafka_broker.bootstrap,
        topic,
        [
            (b"order-1", b"a", 2, [("type", b"orderPrepared")]),
            (b"order-1", None, 2, []),
            (None, b"c", 0, []),
        ],
    )
    records = await read_all(kafka_broker.bootstrap, topic)
    found = sorted((record.partition, record.offset, record.key, record.value, record.headers) for record in records)
    assert offsets == [0, 1, 0]
    assert found == [
        (0, 0, None, b"c", ()),
        (2, 0, b"order-1", b"a", (("type", b"orderPrepared"),)),
        (2, 1, b"order-1", None, ()),
    ]


async def test_read_all_sees_committed_records_only_unless_asked(kafka_broker: KafkaBroker) -> None:
    topic = unique_name("transactions")
    await create_topics(kafka_broker.bootstrap, {topic: 1})
    producer = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap, transactional_id=unique_name("tx"))
    await producer.start()
    try:
        for value, is_committed in ((b"kept", True), (b"dropped", False)):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)
            await (producer.commit_transaction() if is_committed else producer.abort_transaction())
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open")
        committed = await read_all(kafka_broker.bootstrap, topic)
        everything = await read_all(kafka_broker.bootstrap, topic, isolation_level="read_uncommitted")
        await producer.abort_transaction()
    finally:
        await producer.stop()
    assert [record.value for record in committed] == [b"kept"]
    assert [record.value for record in everything] == [b"kept", b"dropped", b"open"]


async def test_read_all_waits_for_its_condition_and_says_what_it_found_when_it_never_holds(
    kafka_broker: KafkaBroker,
) -> None:
    topic = unique_name("waiting")
    await create_topics(kafka_broker.bootstrap, {topic: 2})
    reading = asyncio.create_task(read_all(kafka_broker.bootstrap, topic, until=lambda records: len(records) >= 2))
    await produce(kafka_broker.bootstrap, topic, [(None, b"1", 0, []), (None, b"2", 1, [])])
    assert {record.value for record in await reading} == {b"1", b"2"}
    with pytest.raises(TimeoutError, match="2 records after"):
        await read_all(kafka_broker.bootstrap, topic, until=lambda records: len(records) > 2, timeout_seconds=0.8)


async def test_topics_exist_only_when_created_and_only_once(kafka_broker: KafkaBroker) -> None:
    topic = unique_name("configured")
    with pytest.raises(UnknownTopicOrPartitionError):
        await read_all(kafka_broker.bootstrap, topic)
    await create_topics(kafka_broker.bootstrap, {topic: 1}, configs={"cleanup.policy": "compact"})
    with pytest.raises(TopicAlreadyExistsError, match=topic):
        await create_topics(kafka_broker.bootstrap, {topic: 1})


def test_broker_answers_raw_requests(kafka_broker: KafkaBroker) -> None:
    host, port = kafka_broker.bootstrap.split(",")[0].split(":")
    assert _INIT_PRODUCER_ID in fetch_api_keys(host, int(port))
    assert fetch_broker_ids(host, int(port))


# --- Faults ------------------------------------------------------------------------------------------------------


async def test_killed_broker_comes_back_with_its_data(kafka_cluster: StartCluster) -> None:
    cluster = await asyncio.to_thread(kafka_cluster, session_timeout_ms=2000)
    await create_topics(cluster.bootstrap, {"orders": 1})
    await produce(cluster.bootstrap, "orders", [(None, b"before", 0, [])])
    first_process = cluster.pid_of(1)
    await asyncio.to_thread(cluster.kill, 1)
    assert cluster.running() == ()
    await asyncio.to_thread(cluster.start_broker, 1)
    assert cluster.pid_of(1) != first_process
    await produce(cluster.bootstrap, "orders", [(None, b"after", 0, [])])
    assert [record.value for record in await read_all(cluster.bootstrap, "orders")] == [b"before", b"after"]


async def test_three_brokers_survive_the_crash_and_the_pause_of_one(kafka_cluster: StartCluster) -> None:
    cluster = await asyncio.to_thread(kafka_cluster, brokers=3)
    assert cluster.is_ready()
    await create_topics(cluster.bootstrap, {"orders": 3})
    await asyncio.to_thread(cluster.kill, 2)
    await produce(cluster.bootstrap, "orders", [(None, str(part).encode(), part, []) for part in range(3)])
    await asyncio.to_thread(cluster.start_broker, 2)
    assert cluster.is_ready()
    cluster.pause(3)
    assert cluster.paused() == (3,)
    assert cluster.running() == (1, 2, 3)
    cluster.resume(3)
    await asyncio.to_thread(cluster.wait_ready)
    records = await read_all(cluster.bootstrap, "orders")
    assert sorted(record.value or b"" for record in records) == [b"0", b"1", b"2"]


@pytest.mark.usefixtures("kafka_broker")  # skips where there is no Java
def test_brokers_end_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from dev.kafka import *\n"
        "cluster = KafkaCluster(ClusterSettings(quick_jvm=True)); cluster.start()\n"
        "print(cluster.data_dir, cluster.pid_of(1), flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=_ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        data_dir, pid = run.stdout.readline().split()
        identity = identify(int(pid))
        run.kill()
    assert identity is not None
    _eventually(lambda: identify(int(pid)) != identity and not Path(data_dir).exists())


# --- Security ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl_user_enters_with_the_right_password_only(kafka_secure_broker: KafkaCluster, mechanism: str) -> None:
    topic = unique_name("sasl")
    address = kafka_secure_broker.bootstrap_of("SASL_PLAINTEXT")
    await create_topics(kafka_secure_broker.bootstrap, {topic: 1})
    assert await produce(address, topic, [(None, b"x", 0, [])], **sasl_options("admin", "admin-secret", mechanism)) == [
        0
    ]
    with pytest.raises((AuthenticationFailedError, KafkaConnectionError)):
        await produce(address, topic, [(None, b"x", 0, [])], **sasl_options("admin", "wrong", mechanism))


async def test_user_may_do_only_what_was_granted(kafka_secure_broker: KafkaCluster) -> None:
    granted, refused = unique_name("granted"), unique_name("refused")
    address = kafka_secure_broker.bootstrap_of("SASL_PLAINTEXT")
    await create_topics(kafka_secure_broker.bootstrap, {granted: 1, refused: 1})
    permissions = ("--operation", "Write", "--operation", "Describe", "--topic", granted)
    await asyncio.to_thread(kafka_secure_broker.grant, "alice", *permissions)
    alice = sasl_options("alice", "alice-secret")
    assert await produce(address, granted, [(None, b"x", 0, [])], **alice) == [0]
    with pytest.raises(TopicAuthorizationFailedError):
        await produce(address, refused, [(None, b"x", 0, [])], **alice)


async def test_tls_client_trusts_our_authority_and_no_other(kafka_secure_broker: KafkaCluster) -> None:
    address = kafka_secure_broker.bootstrap_of("SSL")
    for with_client_certificate in (False, True):
        options = tls_options(kafka_secure_broker, with_client_certificate=with_client_certificate)
        async with admin_client(address, **options) as admin:
            assert (await admin.describe_cluster())["brokers"]
    stranger = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context()}
    with pytest.raises(KafkaConnectionError):
        async with admin_client(address, **stranger):
            pass


async def test_sasl_over_tls(kafka_secure_broker: KafkaCluster) -> None:
    topic = unique_name("both")
    await create_topics(kafka_secure_broker.bootstrap, {topic: 1})
    options = sasl_options("admin", "admin-secret") | tls_options(kafka_secure_broker)
    options["security_protocol"] = "SASL_SSL"
    address = kafka_secure_broker.bootstrap_of("SASL_SSL")
    assert await produce(address, topic, [(None, b"x", 0, [])], **options) == [0]


# --- Commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run_command(tmp_path: Path, kafka_broker: KafkaBroker) -> Iterator[RunCommand]:
    """Run `python -m dev.kafka COMMAND` on a folder of the test's own; the session's broker has filled the cache."""

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dev.kafka", *arguments, "--data-dir", str(tmp_path / "kafka")],
            cwd=_ROOT,
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("down")


def test_up_status_and_down(run_command: RunCommand, tmp_path: Path) -> None:
    port_base = _free_port_base()
    up = ("up", "--quick-jvm", "--port-base", str(port_base))
    first, second, status = run_command(*up), run_command(*up), run_command("status")
    assert (first.returncode, second.returncode, status.returncode) == (0, 0, 0), first.stderr
    assert f"127.0.0.1:{port_base}" in first.stdout
    assert "Kafka is already running." in second.stdout
    other = run_command(*up, "--sasl")
    assert (other.returncode, "run with other options" in other.stderr) == (1, True)

    state = load_state(tmp_path / "kafka")
    assert state is not None
    os.kill(state.processes[1].pid, signal.SIGKILL)
    _eventually(lambda: run_command("status").returncode == 1)
    again = run_command(*up)
    assert (again.returncode, "Ready after" in again.stdout) == (0, True), again.stderr

    down = run_command("down")
    assert (down.returncode, "Stopped 1 broker" in down.stdout) == (0, True)
    assert not (tmp_path / "kafka").exists()
    assert "nothing to do" in run_command("down").stdout


def test_down_leaves_processes_and_files_that_are_not_its_own(
    run_command: RunCommand, tmp_path: Path, kafka_broker: KafkaBroker
) -> None:
    session = kafka_broker.own_cluster()
    data_dir = tmp_path / "kafka"
    data_dir.mkdir()
    (data_dir / "precious.txt").write_text("mine")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        identity = identify(bystander.pid)
        assert identity is not None
        # A state file left by a crash, whose process id now belongs to somebody else, even with the same start time.
        plain = json.loads(state_path(session.data_dir).read_text())
        plain["processes"] = {"1": {"pid": identity.pid, "started": identity.started}}
        state_path(data_dir).write_text(json.dumps(plain))
        down = run_command("down")
        assert (down.returncode, "No broker was running." in down.stdout) == (0, True), down.stderr
        assert bystander.poll() is None
        bystander.kill()
    assert [path.name for path in data_dir.iterdir()] == ["precious.txt"]
    assert session.is_ready()


def test_taken_port_is_named(run_command: RunCommand, tmp_path: Path) -> None:
    port_base = _free_port_base()
    with socket.create_server((LOOPBACK, port_base)):
        result = run_command("up", "--port-base", str(port_base))
    assert result.returncode == 1
    assert f"127.0.0.1:{port_base} (PLAINTEXT of broker 1: in use)" in result.stderr


def test_broker_that_ends_at_once_says_why(kafka_broker: KafkaBroker) -> None:
    kafka_broker.own_cluster()
    with pytest.raises(Exception, match="This Java does not know one of the given flags"):
        KafkaCluster(ClusterSettings(jvm_flags=("-XX:+NoSuchFlag",))).__enter__()


# --- What is missing ---------------------------------------------------------------------------------------------


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ToolMissingError, match="install a JDK 17 or newer"):
        provision()
    (tmp_path / "java").write_text("#!/bin/sh\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty-cache"))
    with pytest.raises(ToolMissingError, match="install Maven"):
        provision()
    assert not list(cache_root().glob("kafka-*.tmp-*"))


def test_failing_maven_leaves_no_half_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("needs java")
    (tmp_path / "mvn").write_text("#!/bin/sh\necho '[ERROR] no such host'\nexit 1\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(java).parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Exception, match="no such host"):
        provision()
    assert [path.name for path in cache_root().iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    "wrong", [{"brokers": 2}, {"port_base": 80}, {"users": {"o'hara": "x"}}, {"extra_protocol": "HTTP"}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        ClusterSettings(**wrong)  # type: ignore[arg-type]


def test_ports_follow_the_base_whatever_is_switched_on() -> None:
    small = ClusterSettings(port_base=9092).build_ports()
    large = ClusterSettings(port_base=9092, brokers=3, sasl=True, tls=True, extra_host="10.85.0.1").build_ports()
    assert small == {1: {"PLAINTEXT": 9092, "CONTROLLER": 9093}}
    assert large[1].items() >= small[1].items()
    assert large[3]["SASL_SSL"] == 9092 + 20 + 4


def test_identity_of_a_process_ends_with_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        assert identity is not None
        process.kill()
        _eventually(lambda: identify(process.pid) is None)
    assert identity != ProcessIdentity(pid=identity.pid, started="another")


def _free_port_base() -> int:
    return find_free_ports(1)[0] // 100 * 100 + 1


def _eventually(condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.05)
