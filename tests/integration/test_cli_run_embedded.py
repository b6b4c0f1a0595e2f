"""`flowmachine run --embedded` as a process: how it starts, how it ends, and what it says when it cannot start."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from flowmachine.participants.embedded import EmbeddedTransport
from flowmachine.participants.participant import Command, Event, Participant
from tests.support.eventually import eventually

ENGINE = Path(__file__).parents[2] / "engine"
EXAMPLE = ENGINE / "flowmachine/examples/orders.yaml"
SECONDS_MAX = 30.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("LOG_LEVEL", "HTTP_HOST", "HTTP_PORT")}


async def spawn(folder: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flowmachine", "run", "--embedded", "--data-dir", str(folder / "data"), *arguments),
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(ENGINE), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """The exit code and both outputs."""
    async with asyncio.timeout(SECONDS_MAX):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def running(folder: Path, *arguments: str, **variables: str) -> AsyncGenerator[tuple[Any, str]]:
    """An engine that is ready, and its URL; if the test has not ended it, it is killed."""
    options = ("-f", str(EXAMPLE), "--http", "127.0.0.1:0", "--log-format", "json", *arguments)
    process = await spawn(folder, *options, **variables)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            started = json.loads(await process.stdout.readline())
        assert started["message"] == "running"
        assert started["machine"] == "orders"
        url = started["url"]
        async with aiohttp.ClientSession() as session, asyncio.timeout(SECONDS_MAX):
            while (await session.get(f"{url}/-/ready")).status != HTTPStatus.OK:
                pass
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        code, _, err = await ended(process)
    assert code == 0, err
    assert all(json.loads(line)["level"] == "info" for line in err.splitlines())


async def test_saga_runs_from_http_to_its_end(tmp_path: Path) -> None:
    shop = Participant()
    answers = {"executePayment": "paymentExecuted", "prepareOrder": "orderPrepared", "deliverOrder": "orderDelivered"}

    async def answer(command: Command) -> Event:
        return Event(answers[command.label], {"paymentId": "p1"})

    for label in answers:
        shop.on(label)(answer)
    transport = EmbeddedTransport(tmp_path / "data/orders.db", ["orders-commands"], "orders-events", group="shop")
    async with running(tmp_path, SAGA_ID_PREFIX="order-") as (process, url), aiohttp.ClientSession() as session:
        service = asyncio.create_task(shop.run(transport))
        try:
            body = {"associatedEntityId": "o1", "metadata": {"total": 3}}
            async with session.post(f"{url}/saga", json=body) as created:
                saga_id = (await created.json())["sagaId"]
            assert saga_id.startswith("order-")
            saga: dict[str, Any] = {}
            async with asyncio.timeout(SECONDS_MAX):
                while not saga.get("isFinal"):
                    async with session.get(f"{url}/sagas/{saga_id}") as found:
                        saga = await found.json()
        finally:
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)
        assert saga["currentState"] == "delivered"
        assert saga["metadata"] == {"total": 3, "paymentId": "p1"}
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


async def test_sagas_are_there_after_kill_and_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, url), aiohttp.ClientSession() as session:
        async with session.post(f"{url}/saga", json={"associatedEntityId": "o1", "metadata": {}}) as created:
            saga_id = (await created.json())["sagaId"]
        process.kill()
        await process.communicate()
    async with (
        running(tmp_path) as (_, url),
        aiohttp.ClientSession() as session,
        session.get(f"{url}/sagas/{saga_id}") as found,
    ):
        assert found.status == HTTPStatus.OK
        assert (await found.json())["currentState"] == "created"


async def test_bad_file_is_told_like_check_does(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(EXAMPLE.read_text("utf-8").replace("targetState: paid\n", "targetState: payed\n"), "utf-8")
    code, out, err = await ended(await spawn(tmp_path, "-f", str(bad)))
    assert code == 1
    assert out == ""
    assert "'payed' is not a state; did you mean 'paid'?  [unknown-state]" in err
    assert "1 error, 0 warnings" in err
    assert "Traceback" not in err


async def test_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = await ended(await spawn(tmp_path, "-f", str(EXAMPLE), "--http", f"127.0.0.1:{port}"))
    assert code == 1
    assert f"port {port} of 127.0.0.1 is in use" in err
    assert "Traceback" not in err


async def test_second_engine_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, url):
        code, _, err = await ended(await spawn(tmp_path, "-f", str(EXAMPLE), "--http", "127.0.0.1:0"))
        assert code == 1
        assert f"another engine (process {process.pid}) runs on this file" in err
        assert "Traceback" not in err
        async with aiohttp.ClientSession() as session, session.get(f"{url}/-/ready") as answer:
            assert answer.status == HTTPStatus.OK


async def test_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    code, _, err = await ended(await spawn(tmp_path, "-f", str(EXAMPLE), "--http", "127.0.0.1:0"))
    assert code == 1
    assert "the folder cannot be made: it is a file; name another one with --data-dir" in err
    assert "Traceback" not in err


async def test_pretty_start_says_what_runs_where(tmp_path: Path) -> None:
    options = ("-f", str(EXAMPLE), "--http", "127.0.0.1:0", "--log-format", "pretty")
    process = await spawn(tmp_path, *options, LOG_LEVEL="error")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            line = (await process.stdout.readline()).decode()
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    finally:
        if process.returncode is None:
            process.kill()
    assert line.startswith("orders runs: http://127.0.0.1:")
    assert "orders.db" in line
    assert code == 0
    assert err == ""
    await eventually(lambda: (tmp_path / "data/orders.db").is_file(), "the log is where it was asked for")


async def test_environment_of_flow_manager_is_enough(tmp_path: Path) -> None:
    document = json.loads((ENGINE.parent / "examples/flow-manager/saga.json").read_text("utf-8"))
    del document["persistencyManagement"]  # its store is not here
    file = tmp_path / "saga.json"
    file.write_text(json.dumps(document), "utf-8")
    variables = {"CONFIGURATIONS_FILE_PATH": str(file), "SAGA_ID_PREFIX": "order-", "LOG_LEVEL": "WARN"}
    process = await spawn(tmp_path, HTTP_HOST="127.0.0.1", HTTP_PORT="0", **variables)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX), aiohttp.ClientSession() as session:
            url = json.loads(await process.stdout.readline())["url"]
            while (await session.get(f"{url}/-/ready")).status != HTTPStatus.OK:
                pass
            body = {"associatedEntityId": "order-1", "metadata": {}}
            answer = await (await session.post(f"{url}/saga", json=body)).json()
            assert answer["sagaId"].startswith("order-")
            assert (await (await session.get(f"{url}/machine-definition")).json())["initialState"] == "created"
        process.send_signal(signal.SIGTERM)
        code, _, err = await ended(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert (code, err) == (0, "")
