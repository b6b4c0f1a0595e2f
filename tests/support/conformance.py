"""Engines that a conformance case can be put to: ours, on the embedded log or on Kafka, or one in the environment.

FLOWMACHINE_CONFORMANCE_URL       HTTP address of an engine that runs already
FLOWMACHINE_CONFORMANCE_BROKERS   its Kafka; the topics are `conformance-NAME-events` and `conformance-NAME-commands`
FLOWMACHINE_CONFORMANCE_CASES     NAME: which file of cases it is configured with (order)

`python -m tests.support.conformance NAME BROKERS` prints the saga.json for such an engine. One that does not answer
`GET /sagas/{sagaId}` is judged by its commands alone.
"""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev.engine_process import EngineProcess
from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.wire.log import OutputRecord
from tests.support.kafka import produce, read_all

CASES = Path(__file__).parents[1] / "conformance" / "cases"
URL_VARIABLE, BROKERS_VARIABLE = "FLOWMACHINE_CONFORMANCE_URL", "FLOWMACHINE_CONFORMANCE_BROKERS"
_POLL_SECONDS = 0.03
CASES_VARIABLE = "FLOWMACHINE_CONFORMANCE_CASES"


def read_cases(name: str) -> dict[str, Any]:
    """A file of cases: `configuration` and `cases`."""
    cases: dict[str, Any] = yaml.safe_load((CASES / f"{name}.yaml").read_text("utf-8"))
    return cases


def saga_json(name: str, brokers: str, stem: str) -> dict[str, Any]:
    """Flow Manager's configuration for a file of cases."""
    kafka = {
        "brokers": brokers,
        "inputTopics": [f"{stem}-events"],
        "outputTopics": [f"{stem}-commands"],
        "consumerGroup": stem,
    }
    channels = [{"id": "services", "type": "kafka", "configurations": kafka}]
    return {**read_cases(name)["configuration"], "communicationProtocols": channels}


@dataclass(slots=True)
class Subject:
    """An engine under test. `bootstrap` None: the embedded log in `data_dir`."""

    url: str
    stem: str
    bootstrap: str | None
    database: Path | None = None
    process: EngineProcess | None = None
    session: aiohttp.ClientSession = field(init=False)

    @property
    def is_ours(self) -> bool:
        return self.process is not None

    async def create(self, body: Mapping[str, Any]) -> str:
        async with self.session.post(f"{self.url}/saga", json=body) as response:
            assert response.status == HTTPStatus.OK, await response.text()
            saga_id: str = (await response.json())["sagaId"]
            return saga_id

    async def report(self, saga_id: str, message: Mapping[str, Any]) -> None:
        """Through the topic of events, as services do."""
        value, topic = json.dumps(message).encode(), f"{self.stem}-events"
        if self.database is not None:
            async with EmbeddedClient(self.database) as client:
                await client.produce([OutputRecord(topic, saga_id.encode(), value)])
        elif self.bootstrap is not None:
            await produce(self.bootstrap, topic, [(saga_id.encode(), value, None, ())])

    async def saga(self, saga_id: str) -> dict[str, Any] | None:
        """None: this engine does not tell."""
        async with self.session.get(f"{self.url}/sagas/{saga_id}") as response:
            if response.status == HTTPStatus.NOT_FOUND and not self.is_ours:
                return None
            assert response.status == HTTPStatus.OK, await response.text()
            found: dict[str, Any] = await response.json()
            return found

    async def commands(self, saga_id: str) -> list[Any]:
        topic, key = f"{self.stem}-commands", saga_id.encode()
        if self.database is not None:
            async with EmbeddedClient(self.database) as client:
                return [json.loads(each.value or b"") for each in await client.read_all(topic) if each.key == key]
        assert self.bootstrap is not None
        return [json.loads(each.value or b"") for each in await read_all(self.bootstrap, topic) if each.key == key]

    async def inputs_handled(self) -> int:
        """How many inputs our engine has said something about; 0 for another one."""
        if not self.is_ours:
            return 0
        async with self.session.get(f"{self.url}/-/metrics") as response:
            families = text_string_to_metric_families(await response.text())
            return int(sum(s.value for f in families for s in f.samples if s.name == "flowmachine_inputs_total"))

    async def wait_handled(self, before: int, count: int) -> None:
        async def is_handled() -> bool:
            return not self.is_ours or await self.inputs_handled() >= before + count

        await until(is_handled)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once the condition holds; the caller has a timeout."""
    for _ in itertools.count():
        if await condition():
            return
        await asyncio.sleep(_POLL_SECONDS)


def differences(expected: Mapping[str, Any], saga: Mapping[str, Any] | None, commands: Sequence[Any]) -> list[str]:
    """What is not as a case expects it."""
    found: dict[str, Any] = {} if saga is None else dict(saga)
    if saga is not None:
        history = saga["history"]
        found["states"] = [{k: v for k, v in each.items() if k != "timestamp"} for each in history["states"]]
        found["events"] = [{k: v for k, v in each.items() if k != "timestamp"} for each in history["events"]]
        found["held"] = [each["label"] for each in saga.get("held", ())]
        hold = saga.get("hold")
        found["hold"] = hold and {"command": hold["command"], "reason": hold["reason"]}
    found["commands"] = commands
    return [
        f"{name}: {found[name]!r}, expected {wanted!r}"
        for name, wanted in expected.items()
        if name in found and found[name] != wanted
    ]


def named_subject(name: str) -> Subject | None:
    """The engine that the environment names, if it runs these cases."""
    url = os.environ.get(URL_VARIABLE)
    if not url or os.environ.get(CASES_VARIABLE, "order") != name:
        return None
    return Subject(url.rstrip("/"), f"conformance-{name}", os.environ[BROKERS_VARIABLE])


if __name__ == "__main__":
    _, chosen, brokers = sys.argv
    json.dump(saga_json(chosen, brokers, f"conformance-{chosen}"), sys.stdout, indent=2)
