"""`rest` and `crud` over TLS, from the FlowMachine's file to a real server: whom they trust, and who they are."""

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flowmachine.adapters.rest import open_session
from flowmachine.config.resource import FlowMachine
from flowmachine.core.saga import Saga
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import SagaStore
from flowmachine.stores import opened_store
from tests.contract.store_contract import one, order_after
from tests.contract.test_http_stores import Service
from tests.support.certificates import Authority, Certificate, server_context
from tests.support.http_servers import served
from tests.support.orders import order_document

KINDS = pytest.mark.parametrize("kind", ["rest", "crud"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Nobody trusts it."""
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncGenerator[tuple[int, Service]]:
    service = Service()
    async with served(service.application, context) as port:
        yield port, service


@asynccontextmanager
async def store(kind: str, port: int, tls: Mapping[str, object] | None, folder: Path) -> AsyncGenerator[SagaStore]:
    """The store of a FlowMachine that keeps its header in a Secret, and its certificates in files."""
    (folder / "keeper").mkdir()
    (folder / "keeper/api-key").write_text("hunter2")
    where: dict[str, Any] = {"endpoint": "127.0.0.1", "path": "/keep", "method": "PUT"}
    if kind == "crud":
        where = {"host": "127.0.0.1", "collectionName": "sagas"}
    headers = {"X-Key": {"secretKeyRef": {"name": "keeper", "key": "api-key"}}}
    configurations = {**where, "protocol": "https", "port": port, "headers": headers, **({"tls": tls} if tls else {})}
    document = order_document("orders", {"rest": {"host": "services"}})
    document["spec"]["persistence"] = {"type": kind, "configurations": configurations}
    async with (
        open_session() as session,
        opened_store(FlowMachine.model_validate(document), folder, session) as opened,
    ):
        assert opened is not None
        yield opened.store


def client_files(certificate: Certificate) -> dict[str, object]:
    return {"cert": {"file": str(certificate.cert)}, "key": {"file": str(certificate.key)}}


@KINDS
async def test_private_authority_is_trusted_and_a_client_certificate_shown(
    kind: str, authority: Authority, tmp_path: Path
) -> None:
    context = server_context(authority.issue("keeper"), client_ca=authority.ca)
    tls = {"ca": {"file": str(authority.ca)}, **client_files(authority.issue("engine"))}
    async with serving(context) as (port, service), store(kind, port, tls, tmp_path) as opened:
        assert await one(opened, "order-1", order_after(2)) == []
        assert isinstance((await opened.read(["order-1"]))["order-1"], Saga)
    assert set(service.documents) == {"order-1"}


async def fault_of(opened: SagaStore) -> tuple[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        await one(opened, "order-1", order_after(0))
    return caught.value.problems[0].code, caught.value.problems[0].message


@KINDS
@pytest.mark.parametrize("trusted", ["nobody", "stranger"])
async def test_server_that_is_not_trusted_is_named(
    kind: str, trusted: str, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    tls = {"ca": {"file": str(stranger.ca)}} if trusted == "stranger" else None
    context = server_context(authority.issue("keeper"))
    async with serving(context) as (port, service), store(kind, port, tls, tmp_path) as opened:
        code, message = await fault_of(opened)
    assert (code, "TLS failed" in message, "hunter2" in message) == ("store-tls", True, False)
    assert service.calls == []


@KINDS
@pytest.mark.parametrize("shown", ["nothing", "another's"])
async def test_client_that_the_server_does_not_accept_is_tried_again(
    kind: str, shown: str, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    """All that a client sees of it is a connection that breaks."""
    tls: dict[str, object] = {"ca": {"file": str(authority.ca)}}
    if shown == "another's":
        tls |= client_files(stranger.issue("engine"))
    context = server_context(authority.issue("keeper"), client_ca=authority.ca)
    async with serving(context) as (port, service), store(kind, port, tls, tmp_path) as opened:
        with pytest.raises(TransientError, match="connect"):
            await one(opened, "order-1", order_after(0))
    assert service.calls == []
