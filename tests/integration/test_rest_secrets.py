"""A REST channel's secrets change while an engine runs: a header's value, and the client certificate."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web

from dev.engine_process import EngineProcess
from tests.support.certificates import Authority, Certificate, server_context
from tests.support.eventually import eventually
from tests.support.http_servers import served
from tests.support.orders import order_document

pytestmark = pytest.mark.slow

CANNOT, CAN = "changed secrets cannot be used yet", "changed secrets are in use"


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncGenerator[tuple[int, list[tuple[str, str]]]]:
    """An endpoint for commands: its port, and of each command the token and the name in the certificate."""
    seen: list[tuple[str, str]] = []

    async def take(request: web.Request) -> web.Response:
        assert request.transport is not None
        subject = request.transport.get_extra_info("peercert")["subject"]
        seen.append((request.headers["X-Token"], dict(pair for (pair,) in subject)["commonName"]))
        return web.Response(status=204, headers={"Connection": "close"})

    application = web.Application()
    application.router.add_post("/commands", take)
    async with served(application, context) as port:
        yield port, seen


def write_machine(folder: Path, port: int, authority: Authority) -> Path:
    rest = {
        "protocol": "https",
        "host": "127.0.0.1",
        "port": port,
        "path": "/commands",
        "headers": {"X-Token": {"file": str(folder / "token")}},
        "tls": {
            "ca": {"file": str(authority.ca)},
            "cert": {"file": str(folder / "cert")},
            "key": {"file": str(folder / "key")},
        },
    }
    file = folder / "orders.yaml"
    file.write_text(yaml.safe_dump(order_document("orders", {"rest": rest})), "utf-8")
    return file


def show(folder: Path, certificate: Certificate) -> None:
    (folder / "cert").write_text(certificate.cert.read_text())
    (folder / "key").write_text(certificate.key.read_text())


@pytest.mark.timeout(180)
async def test_changed_secrets_of_a_rest_channel_are_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    old, new = authority.issue("old"), authority.issue("new")
    show(tmp_path, old)
    (tmp_path / "token").write_text("hunter2-old\n")
    async with serving(server_context(authority.issue("service"), client_ca=authority.ca)) as (port, seen):
        engine = EngineProcess(
            write_machine(tmp_path, port, authority), "--embedded", "--data-dir", str(tmp_path / "data")
        )
        try:
            await asyncio.to_thread(engine.start)
            said = engine.log_path

            async def next_command() -> tuple[str, str]:
                """The command of one more saga."""
                before = len(seen)
                body = {"associatedEntityId": "order", "metadata": {}}
                async with aiohttp.ClientSession() as session, session.post(f"{engine.url}/saga", json=body) as answer:
                    assert answer.ok
                await eventually(lambda: len(seen) > before, "the command has come")
                return seen[-1]

            assert await next_command() == ("hunter2-old", "old")
            (tmp_path / "token").write_text("")
            await eventually(lambda: CANNOT in said.read_text(), "an empty file is said")
            assert await next_command() == ("hunter2-old", "old")
            show(tmp_path, new)
            (tmp_path / "token").write_text("hunter2-new\n")
            await eventually(lambda: CAN in said.read_text(), "the new ones are taken")
            assert await next_command() == ("hunter2-new", "new")
            assert "hunter2" not in said.read_text()
        finally:
            engine.close()
