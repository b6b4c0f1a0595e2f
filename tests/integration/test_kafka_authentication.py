"""The engine and brokers that demand something: every way in, what is said when it is refused, and secrets that change.

The SASL_SSL listener cuts every connection that has not shown its credentials for four seconds, so an engine that held
on to an old secret or an old token anywhere would stand still.
"""

import asyncio
import base64
import json
import re
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka.errors import KafkaError

from dev.engine_process import EngineProcess
from dev.kafka import KafkaCluster
from dev.kafka.tokens import TokenIssuer
from tests.support.certificates import Authority, Certificate, server_context
from tests.support.eventually import eventually
from tests.support.http_servers import served
from tests.support.kafka import admin_client, start_test_broker
from tests.support.orders import (
    FinalStates,
    Orders,
    assert_exactly_once,
    create_sagas,
    prepare_orders,
    running_participants,
)
from tests.support.ready import problems

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

REAUTHENTICATION_MS = 4000
PASSPHRASE = "hunter2-passphrase"
PASSWORD = "alice-secret"


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_test_broker(
        sasl=True,
        oauth=True,
        tls=True,
        tls_client_auth="required",
        overrides={
            f"listener.name.sasl_ssl.{mechanism}.connections.max.reauth.ms": str(REAUTHENTICATION_MS)
            for mechanism in ("scram-sha-512", "oauthbearer")
        },
    )
    yield cluster
    cluster.close()


async def run_sagas(orders: Orders) -> tuple[list[str], FinalStates]:
    """Through the plain listener: create sagas, and wait until participants have led them to their end."""
    ids = await create_sagas(orders, 10)
    finals = FinalStates(orders)
    async with running_participants(orders):
        await finals.wait_for(ids, timeout_seconds=60)
    return ids, finals


@asynccontextmanager
async def running_engine(orders: Orders, *arguments: str, is_ready: bool = True) -> AsyncGenerator[EngineProcess]:
    engine = EngineProcess(orders.file, *arguments)
    try:
        await asyncio.to_thread(engine.start, is_ready=is_ready)
        yield engine
    finally:
        engine.close()


def write(folder: Path, name: str, text: str) -> dict[str, str]:
    """A secret in a file, as a value of the machine."""
    (folder / name).write_text(text)
    return {"file": str(folder / name)}


def lock_key(key: Path, target: Path) -> None:
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", target], check=True
    )


def client_tls(broker: KafkaCluster, folder: Path) -> dict[str, Any]:
    """CA as a text, client certificate and its locked key as files."""
    tls = broker.tls
    lock_key(tls.client_key, folder / "client.key")
    return {
        "ca": tls.ca.read_text(),
        "cert": {"file": str(tls.client_certificate)},
        "key": {"file": str(folder / "client.key")},
        "passphrase": write(folder, "passphrase", f"{PASSPHRASE}\n"),
    }


def mounted(folder: Path, key: str, text: str) -> dict[str, Any]:
    """A key of a Kubernetes Secret, mounted below `folder / "secrets"`."""
    (folder / "secrets/kafka").mkdir(parents=True, exist_ok=True)
    (folder / "secrets/kafka" / key).write_text(text)
    return {"secretKeyRef": {"name": "kafka", "key": key}}


def channel_of(way: str, broker: KafkaCluster, folder: Path) -> dict[str, Any]:
    plain, tls = broker.bootstrap_of("SASL_PLAINTEXT"), {"ca": {"file": str(broker.tls.ca)}}
    match way:
        case "client certificate":
            return {"brokers": broker.bootstrap_of("SSL"), "tls": client_tls(broker, folder)}
        case "plain, literal":
            return {"brokers": plain, "sasl": {"mechanism": "plain", "username": "alice", "password": PASSWORD}}
        case "scram-sha-256, files":
            username, password = write(folder, "username", "alice\n"), write(folder, "password", f"{PASSWORD}\n")
            sasl = {"mechanism": "scram-sha-256", "username": username, "password": password}
            return {"brokers": write(folder, "brokers", f"{plain}\n"), "sasl": sasl}
        case "scram-sha-512 over TLS, secretKeyRef":
            password = mounted(folder, "password", PASSWORD)
            sasl = {"mechanism": "scram-sha-512", "username": mounted(folder, "user", "alice"), "password": password}
            return {"brokers": broker.bootstrap_of("SASL_SSL"), "tls": tls, "sasl": sasl}
        case "token in a file":
            token = write(folder, "token", broker.issuer.sign("alice"))
            return {"brokers": plain, "sasl": {"mechanism": "oauthbearer", "token": token}}
        case _:
            raise AssertionError(way)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "way",
    [
        "client certificate",
        "plain, literal",
        "scram-sha-256, files",
        "scram-sha-512 over TLS, secretKeyRef",
        "token in a file",
    ],
)
async def test_every_way_in(broker: KafkaCluster, tmp_path: Path, way: str) -> None:
    orders = await prepare_orders(broker.bootstrap, tmp_path, channel=channel_of(way, broker, tmp_path))
    async with running_engine(orders, "--secrets-dir", str(tmp_path / "secrets")) as engine:
        ids, finals = await run_sagas(orders)
        said = engine.log_path.read_text()
    await assert_exactly_once(orders, ids, finals)
    assert not any(secret in said for secret in (PASSWORD, PASSPHRASE, "eyJhbGciOi"))


# --- refused ----------------------------------------------------------------------------------------------------------


def refused_channel(why: str, broker: KafkaCluster, folder: Path) -> dict[str, Any]:
    plain, tls = broker.bootstrap_of("SASL_PLAINTEXT"), {"ca": {"file": str(broker.tls.ca)}}
    match why:
        case "wrong password":
            sasl = {"mechanism": "plain", "username": "alice", "password": "hunter2-wrong"}
            return {"brokers": plain, "sasl": sasl}
        case "token of another issuer":
            other = TokenIssuer(folder / "issuer")
            other.make_key()
            token = write(folder, "token", other.sign("alice"))
            return {"brokers": plain, "sasl": {"mechanism": "oauthbearer", "token": token}}
        case "token that is over":
            token = write(folder, "token", broker.issuer.sign("alice", lifetime_seconds=-600))
            return {"brokers": plain, "sasl": {"mechanism": "oauthbearer", "token": token}}
        case "token file that goes missing":
            return {"brokers": plain, "sasl": {"mechanism": "oauthbearer", "token": {"file": str(folder / "token")}}}
        case "unknown authority":
            authority = Authority(folder / "other")
            return {"brokers": broker.bootstrap_of("SSL"), "tls": {"ca": authority.ca.read_text()}}
        case "no client certificate":
            return {"brokers": broker.bootstrap_of("SSL"), "tls": tls}
        case _:
            raise AssertionError(why)


REFUSALS = {
    "wrong password": "the brokers refused the credentials",
    "token of another issuer": "the brokers refused the credentials",
    "token that is over": "the brokers refused the credentials",
    "token file that goes missing": "the secret file .*/token does not exist",
    "unknown authority": "certificate verify failed",
    "no client certificate": "certificate required|bad certificate|asks for a client certificate",
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("why", list(REFUSALS))
async def test_refusals_say_why_and_show_nothing(broker: KafkaCluster, tmp_path: Path, why: str) -> None:
    orders = await prepare_orders(broker.bootstrap, tmp_path, channel=refused_channel(why, broker, tmp_path))
    async with running_engine(orders, is_ready=False) as engine:
        await expect_problem(engine, REFUSALS[why])
        assert not any(secret in engine.log_path.read_text() for secret in ("hunter2", "eyJhbGciOi"))


async def expect_problem(engine: EngineProcess, pattern: str) -> None:
    said: list[str] = []

    def is_said() -> bool:
        said.append(problems(engine))
        return re.search(pattern, said[-1]) is not None

    try:
        await eventually(is_said, pattern, timeout_seconds=30)
    except AssertionError:
        pytest.fail(f"{pattern!r} is not said, but: {sorted(set(said))}")


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        ("IP:127.0.0.1", -1, "certificate has expired"),
        ("DNS:kafka.example", 30, "IP address mismatch"),
    ],
)
async def test_broker_with_a_bad_certificate_is_not_trusted(
    broker: KafkaCluster, tmp_path: Path, names: str, days: int, reason: str
) -> None:
    authority = Authority(tmp_path / "authority")
    context = server_context(authority.issue("broker", names=names, days=days))

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    channel = {"brokers": f"127.0.0.1:{port}", "tls": {"ca": {"file": str(authority.ca)}}}
    orders = await prepare_orders(broker.bootstrap, tmp_path, channel=channel, create=False)
    async with server, running_engine(orders, is_ready=False) as engine:
        await expect_problem(engine, reason)


# --- secrets that change ----------------------------------------------------------------------------------------------


def change_password(broker: KafkaCluster, user: str, password: str) -> None:
    broker.run_tool(
        "kafka.admin.ConfigCommand",
        *("--bootstrap-server", broker.bootstrap, "--alter", "--entity-type", "users", "--entity-name", user),
        *("--add-config", f"SCRAM-SHA-512=[password={password}]"),
    )


def messages(engine: EngineProcess) -> list[str]:
    return [str(line.get("message")) for line in engine.log_lines()]


@pytest.mark.timeout(300)
async def test_changed_password_is_used_and_nothing_is_lost(broker: KafkaCluster, tmp_path: Path) -> None:
    password = write(tmp_path, "password", "bob-secret")
    channel = {
        "brokers": broker.bootstrap_of("SASL_SSL"),
        "tls": {"ca": {"file": str(broker.tls.ca)}},
        "sasl": {"mechanism": "scram-sha-512", "username": "bob", "password": password},
    }
    orders = await prepare_orders(broker.bootstrap, tmp_path, channel=channel)
    async with running_engine(orders) as engine, running_participants(orders):
        ids = await create_sagas(orders, 200, prefix="before")
        write(tmp_path, "password", "not-the-password")
        await eventually(lambda: "changed secrets cannot be used yet" in messages(engine), "a wrong one is not taken")
        ids += await create_sagas(orders, 200, prefix="between")
        await asyncio.to_thread(change_password, broker, "bob", "bob-changed")
        write(tmp_path, "password", "bob-changed")
        await eventually(lambda: "changed secrets are in use" in messages(engine), "the new one is taken")
        ids += await create_sagas(orders, 200, prefix="during")
        finals = FinalStates(orders)
        await finals.wait_for(ids, timeout_seconds=60)
        deadline = time.monotonic() + REAUTHENTICATION_MS / 1000
        for number in count():
            ids += await create_sagas(orders, 50, prefix=f"after-{number}")
            await finals.wait_for(ids, timeout_seconds=60)
            if time.monotonic() > deadline:  # every connection has had to show the new one
                break
        await eventually(engine.is_ready, "ready")
        said = engine.log_path.read_text()
    await assert_exactly_once(orders, ids, finals)
    assert not any(secret in said for secret in ("bob-secret", "bob-changed", "not-the-password"))


@pytest.mark.timeout(300)
async def test_tokens_of_an_endpoint_are_renewed_before_they_are_over(broker: KafkaCluster, tmp_path: Path) -> None:
    """Tokens of five seconds, and sagas until the third of them."""
    authority = Authority(tmp_path / "authority")
    asked: list[tuple[str, dict[str, Any]]] = []

    async def give(request: web.Request) -> web.Response:
        asked.append((request.headers["Authorization"], dict(await request.post())))
        token = await asyncio.to_thread(broker.issuer.sign, "alice", lifetime_seconds=5)
        return web.Response(
            text=json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 5}),
            content_type="application/json",
        )

    application = web.Application()
    application.router.add_post("/token", give)
    context = server_context(authority.issue("issuer"))
    async with served(application, context) as port:
        both = broker.tls.ca.read_text() + authority.ca.read_text()
        channel = {
            "brokers": broker.bootstrap_of("SASL_SSL"),
            "tls": {"ca": both},
            "sasl": {
                "mechanism": "oauthbearer",
                "tokenEndpoint": f"https://127.0.0.1:{port}/token",
                "clientId": "engine",
                "clientSecret": write(tmp_path, "client", "client-secret"),
                "scope": "kafka",
            },
        }
        orders = await prepare_orders(broker.bootstrap, tmp_path, channel=channel)
        async with running_engine(orders) as engine, running_participants(orders):
            finals, ids = FinalStates(orders), list[str]()
            for number in count():
                ids += await create_sagas(orders, 20, prefix=f"saga-{number}")
                await finals.wait_for(ids, timeout_seconds=60)
                if len(asked) >= 3:
                    break
            assert "client-secret" not in engine.log_path.read_text()
    await assert_exactly_once(orders, ids, finals)
    client = base64.b64encode(b"engine:client-secret").decode()
    assert asked[0] == (f"Basic {client}", {"grant_type": "client_credentials", "scope": "kafka"})


# --- client certificates that change ----------------------------------------------------------------------------------


async def is_let_in(cluster: KafkaCluster, certificate: Certificate) -> bool:
    """Whether the broker takes a client with this certificate."""
    context = ssl.create_default_context(cafile=cluster.tls.ca)
    context.load_cert_chain(certificate.cert, certificate.key)
    try:
        async with admin_client(cluster.bootstrap_of("SSL"), security_protocol="SSL", ssl_context=context):
            return True
    except KafkaError:
        return False


@pytest.mark.timeout(300)
async def test_client_certificate_is_exchanged_while_sagas_run_and_nothing_is_lost(tmp_path: Path) -> None:
    """The new one is of another authority. Then all connections are cut, and the broker knows the old one no more."""
    old, new = (Authority(tmp_path / name).issue("engine") for name in ("old", "new"))
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("".join((tmp_path / name / "ca.pem").read_text() for name in ("old", "new")))
    cluster = start_test_broker(
        tls=True,
        tls_client_auth="required",
        overrides={"listener.name.ssl.ssl.truststore.location": str(trusted)},
    )
    try:
        files = {name: write(tmp_path, name, getattr(old, name).read_text()) for name in ("cert", "key")}
        tls = {"ca": {"file": str(cluster.tls.ca)}, **files}
        orders = await prepare_orders(
            cluster.bootstrap, tmp_path, channel={"brokers": cluster.bootstrap_of("SSL"), "tls": tls}
        )
        async with running_engine(orders) as engine, running_participants(orders):
            finals = FinalStates(orders)
            ids = await create_sagas(orders, 100, prefix="before")
            write(tmp_path, "cert", new.cert.read_text())
            await eventually(
                lambda: "changed secrets cannot be used yet" in messages(engine), "half of a pair is not taken"
            )
            ids += await create_sagas(orders, 100, prefix="between")
            write(tmp_path, "key", new.key.read_text())
            await eventually(lambda: "changed secrets are in use" in messages(engine), "the new pair is taken")
            ids += await create_sagas(orders, 100, prefix="during")
            trusted.write_text((tmp_path / "new/ca.pem").read_text())
            await asyncio.to_thread(cluster.restart, 1)
            assert (await is_let_in(cluster, old), await is_let_in(cluster, new)) == (False, True)
            await eventually(engine.is_ready, "ready again", timeout_seconds=60)
            ids += await create_sagas(orders, 100, prefix="after")
            await finals.wait_for(ids, timeout_seconds=90)
            said = engine.log_path.read_text()
        await assert_exactly_once(orders, ids, finals)
        assert "PRIVATE KEY" not in said
    finally:
        cluster.close()
