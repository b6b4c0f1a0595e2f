"""`flowmachine sagas list|get|watch` against an engine on the embedded log."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.engine_process import EngineProcess
from flowmachine.cli.main import main
from tests.support.eventually import eventually
from tests.support.orders import order_document

ENGINE = Path(__file__).parents[2] / "engine"


def post(url: str, body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - our own child
    return get(request)


def get(request: "str | urllib.request.Request") -> Any:
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own child
        return json.load(answer)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("sagas")
    file = folder / "orders.yaml"
    channel = {
        "kafka": {"brokers": ["none:1"], "inputTopics": ["events"], "outputTopics": ["commands"], "consumerGroup": "g"}
    }
    file.write_text(yaml.safe_dump(order_document("orders", channel)))
    engine = EngineProcess(file, "--embedded", "--data-dir", str(folder / "data"))
    try:
        yield engine.start().url
    finally:
        engine.close()


def create(url: str, entity: str, *events: str) -> str:
    """A saga that has taken these events."""
    saga_id: str = post(f"{url}/saga", {"associatedEntityId": entity, "metadata": {"n": entity}})["sagaId"]
    for label in events:
        value = {"messageLabel": label, "messagePayload": {label: True}}
        post(f"{url}/event", {"key": saga_id, "value": value})
    return saga_id


async def wait_for_seq(url: str, saga_id: str, seq: int) -> None:
    def is_there() -> bool:
        return bool(get(f"{url}/sagas/{saga_id}")["seq"] == seq)

    await eventually(is_there, f"{saga_id} has changed {seq} times", timeout_seconds=30)


async def sagas(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["sagas", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


async def test_list_shows_what_the_filters_select(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    paid = create(url, "list-paid", "paymentExecuted")
    done = create(url, "list-done", "paymentExecuted", "orderPrepared", "orderDelivered")
    await wait_for_seq(url, paid, 2)
    await wait_for_seq(url, done, 4)
    for option in (["--state", "paid"], ["--no-finished"], ["--business-state", "0"]):
        code, out, _ = await sagas(capsys, "list", "--url", url, "--entity", "list-paid", *option)
        assert code == 0
        heading, row = out.splitlines()
        assert heading.split()[:2] == ["SAGA", "STATE"]
        assert row.split()[:4] == [paid, "paid", "open", "list-paid"]
    code, out, _ = await sagas(capsys, "list", "--url", url, "--finished", "--output", "json")
    assert [json.loads(line)["sagaId"] for line in out.splitlines()] == [done]
    code, out, err = await sagas(capsys, "list", "--url", url, "--updated-before", "1h")
    assert (code, out, err.strip()) == (0, "", "0 sagas")


async def test_list_goes_on_over_pages_until_its_limit(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = {create(url, "many") for _ in range(7)}
    await wait_for_seq(url, sorted(made)[-1], 1)
    code, out, err = await sagas(capsys, "list", "--url", url, "--entity", "many", "--limit", "3")
    assert (code, len(out.splitlines()), err.strip()) == (
        *(0, 4),
        "3 sagas, and there may be more: --limit N or --all shows them",
    )
    _, out, _ = await sagas(capsys, "list", "--url", url, "--entity", "many", "--all", "--output", "json")
    assert {json.loads(line)["sagaId"] for line in out.splitlines()} == made


async def test_get_shows_the_history_as_a_timeline(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    saga_id = create(url, "get", "paymentExecuted")
    await wait_for_seq(url, saga_id, 2)
    code, out, _ = await sagas(capsys, "get", saga_id, "--url", url)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{saga_id}  paid  under way"
    steps = lines[lines.index("history") + 1 : lines.index("metadata")]
    assert [step.split()[-4:] for step in steps] == [
        ["__created__", "→", "created", "(open)"],
        ["paymentExecuted", "→", "paid", "(open)"],
    ]
    assert json.loads("".join(lines[lines.index("metadata") + 1 :])) == {"n": "get", "paymentExecuted": True}
    _, out, _ = await sagas(capsys, "get", saga_id, "--url", url, "--output", "json")
    assert json.loads(out)["history"]["events"][1]["event"] == "paymentExecuted"


async def test_unknown_saga_is_a_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = await sagas(capsys, "get", "nobody/knows?", "--url", url)
    assert (code, out) == (1, "")
    assert "There is no saga 'nobody/knows?'." in err


async def test_watch_follows_a_saga_to_its_end(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    saga_id = create(url, "follow")
    following = asyncio.create_task(sagas(capsys, "watch", saga_id, "--url", url, "--interval", "0.1"))
    for seq, label in enumerate(("paymentExecuted", "orderPrepared", "orderDelivered"), start=2):
        post(f"{url}/event", {"key": saga_id, "value": {"messageLabel": label}})
        await wait_for_seq(url, saga_id, seq)
    code, out, _ = await following
    assert code == 0
    assert [line.split()[-2] for line in out.splitlines()] == ["created", "paid", "prepared", "delivered"]


async def test_watch_prints_a_line_per_change_until_it_is_interrupted(url: str) -> None:
    saga_id = create(url, "watched")
    await wait_for_seq(url, saga_id, 1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flowmachine", "sagas", "watch", "--url", url, "--entity", "watched"),
        *("--interval", "0.1", "--output", "json"),
        env=os.environ | {"PYTHONPATH": str(ENGINE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            first = json.loads(await process.stdout.readline())
            post(f"{url}/event", {"key": saga_id, "value": {"messageLabel": "paymentExecuted"}})
            second = json.loads(await process.stdout.readline())
            process.send_signal(2)
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert [(saga["sagaId"], saga["currentState"]) for saga in (first, second)] == [
        (saga_id, "created"),
        (saga_id, "paid"),
    ]
    assert (process.returncode, err) == (130, b"")
