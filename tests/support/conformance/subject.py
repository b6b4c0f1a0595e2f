"""An engine that cases are put to: ours, started by the suite, or any other that the environment names.

Nothing that only our engine has is needed to judge: sagas are what the store holds, commands what has reached their
topics and endpoints.
"""

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.core.partitioners import java_murmur2
from flowmachine.wire.log import OutputRecord
from tests.support.conformance.cases import Place, fill
from tests.support.conformance.endpoints import Endpoints
from tests.support.kafka import Headers, produce, read_all

PARTITIONS: Final = 2
STORED_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.05
_STATES_TOTAL: Final = "flow_manager_saga_states_total"
_ANSWER_KEYS: Final = frozenset({"status", "json", "has", "lacks"})

Found = tuple[bytes | None, bytes | None, int]
"""Key, value, partition."""


class Topics(Protocol):
    """Topics as services see them."""

    async def append(self, topic: str, key: bytes | None, value: bytes, headers: Headers, partition: int) -> None:
        """One record, as a service sends it."""
        ...

    async def read(self, topic: str) -> list[Found]:
        """All records that are visible."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaTopics:
    """On a broker."""

    bootstrap: str

    async def append(self, topic: str, key: bytes | None, value: bytes, headers: Headers, partition: int) -> None:
        """As the protocol says."""
        await produce(self.bootstrap, topic, [(key, value, partition, headers)])

    async def read(self, topic: str) -> list[Found]:
        """As the protocol says."""
        return [(each.key, each.value, each.partition) for each in await read_all(self.bootstrap, topic)]


@dataclass(frozen=True, slots=True)
class EmbeddedTopics:
    """In the file of the embedded log, which puts each key where it belongs."""

    database: Path

    async def append(self, topic: str, key: bytes | None, value: bytes, headers: Headers, partition: int) -> None:
        """As the protocol says."""
        async with EmbeddedClient(self.database) as client:
            await client.produce([OutputRecord(topic, key, value, headers=tuple(headers))])

    async def read(self, topic: str) -> list[Found]:
        """As the protocol says."""
        async with EmbeddedClient(self.database) as client:
            return [(each.key, each.value, each.partition) for each in await client.read_all(topic)]


@dataclass(slots=True)
class Subject:
    """An engine under test."""

    url: str
    place: Place
    topics: Topics
    endpoints: Endpoints
    is_ours: bool
    """Whether it is known to be FlowMachine: then what only that says can be looked at."""

    session: aiohttp.ClientSession = field(init=False)

    async def run(self, case: Mapping[str, Any], *, seconds_max: float) -> list[str]:
        """Put a case to the engine; whatever is still not as expected after that time."""
        entered = await self._entered_states()
        saga_id = await self._begin(case)
        values = self.place.values() | {"sagaId": saga_id}
        for item in fill(case.get("inputs", []), values):
            await self._put_in(saga_id, item, via=case.get("via", "topic"))
        found: list[str] = []
        expected = fill(case.get("expect", {}), values)

        async def is_as_expected() -> bool:
            found[:] = await self._differences(saga_id, expected, entered)
            return not found

        try:
            async with asyncio.timeout(seconds_max):
                await until(is_as_expected)
        except TimeoutError:
            return found
        return [line for request in fill(case.get("requests", []), values) for line in await self._ask(request)]

    async def _begin(self, case: Mapping[str, Any]) -> str:
        if "stored" in case:
            document = dict(case["stored"])
            self.endpoints.documents[document["sagaId"]] = document
            return str(document["sagaId"])
        async with self.session.post(f"{self.url}/saga", json=case["create"]) as response:
            assert response.ok, await response.text()
            answer = await response.json()
        saga_id: str = answer["sagaId"]

        async def is_stored() -> bool:
            return saga_id in self.endpoints.documents

        async with asyncio.timeout(STORED_SECONDS_MAX):
            await until(is_stored)  # an event must not come before its saga
        return saga_id

    async def _put_in(self, saga_id: str, item: Mapping[str, Any], *, via: str) -> None:
        if via == "http":
            async with self.session.post(f"{self.url}/event", json={"key": saga_id, "value": item}) as response:
                assert response.ok, await response.text()
            return
        record = item.get("record", {"value": item})
        key = record.get("key", saga_id)
        value = record["value"] if isinstance(record["value"], str) else json.dumps(record["value"])
        at_home = java_murmur2((key or saga_id).encode(), PARTITIONS)
        await self.topics.append(
            record.get("topic", self.place.values()["events"]),
            None if key is None else key.encode(),
            value.encode(),
            [(name, text.encode()) for name, text in record.get("headers", {}).items()],
            (at_home + 1) % PARTITIONS if record.get("partition") == "elsewhere" else at_home,
        )

    async def _differences(
        self, saga_id: str, expected: Mapping[str, Any], entered: Mapping[tuple[str, str], float]
    ) -> list[str]:
        found = describe_document(self.endpoints.documents.get(saga_id, {}))
        assert found.pop("sagaId", saga_id) == saga_id
        if self.is_ours and expected.keys() & {"hold", "held"}:
            found |= await self._hold_of(saga_id)
        lines = _compare({name: value for name, value in expected.items() if name in found}, found)
        if "sagaId" in expected and not re.fullmatch(expected["sagaId"], saga_id):
            lines.append(f"sagaId: {saga_id!r}, expected {expected['sagaId']!r}")
        if not lines:  # a step further only once the saga is where it should be: topics are slow to read
            commands = {self.place.values()["commands"]: expected["commands"]} if "commands" in expected else {}
            for topic, wanted in (commands | expected.get("topics", {})).items():
                lines += _compare({topic: wanted}, {topic: await self._messages(topic, saga_id)})
            if "calls" in expected:
                lines += _compare_calls(expected["calls"], self.endpoints.calls[saga_id])
            if "metrics" in expected:
                lines += _compare(
                    {"metrics": Counter({(each["state"], each["by"]): each["count"] for each in expected["metrics"]})},
                    {"metrics": Counter(await self._entered_states()) - Counter(entered)},
                )
        missing = expected.keys() - found.keys() - {"sagaId", "commands", "topics", "calls", "metrics"}
        return lines + [f"{name} is not known" for name in missing]

    async def _messages(self, topic: str, saga_id: str) -> list[Any]:
        records = [each for each in await self.topics.read(topic) if each[0] == saga_id.encode()]
        assert len({partition for _, _, partition in records}) <= 1, "a saga's commands are in one partition"
        return [json.loads(value or b"") for _, value, _ in records]

    async def _hold_of(self, saga_id: str) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/sagas/{saga_id}") as response:
            saga = await response.json()
        hold = saga.get("hold")
        return {
            "held": [each["label"] for each in saga.get("held", ())],
            "hold": hold and {"command": hold["command"], "reason": hold["reason"]},
        }

    async def _entered_states(self) -> dict[tuple[str, str], float]:
        async with self.session.get(f"{self.url}/-/metrics") as response:
            families = text_string_to_metric_families(await response.text())
        samples = [sample for family in families for sample in family.samples if sample.name == _STATES_TOTAL]
        return {(each.labels["state"], each.labels["incoming_message_label"]): each.value for each in samples}

    async def _ask(self, request: Mapping[str, Any]) -> list[str]:
        wanted = {name: value for name, value in request.items() if name in _ANSWER_KEYS}
        body = {"json": request["body"]} if "body" in request else {}
        async with self.session.request(request["method"], f"{self.url}{request['path']}", **body) as response:
            text, status = await response.text(), response.status
        where = f"{request['method']} {request['path']} {request.get('body', '')}: {status} {text[:300]}"
        lines: list[str] = []
        as_wanted = {"ok": 200 <= status < 300, "error": status >= 400}.get(
            wanted["status"], wanted["status"] == status
        )
        if not as_wanted:
            lines.append(f"{where}, expected {wanted['status']}")
        if "json" in wanted and json.loads(text) != wanted["json"]:
            lines.append(f"{where}, expected {wanted['json']}")
        lines += [f"{where}, without {part!r}" for part in wanted.get("has", []) if part not in text]
        return lines + [f"{where}, with {part!r}" for part in wanted.get("lacks", []) if part in text]


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once the condition holds. Raises TimeoutError at the caller's timeout."""
    for _ in itertools.count():
        if await condition():
            return
        await asyncio.sleep(_POLL_SECONDS)


def describe_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """A stored document in the terms of a case; a history's times must be there, and in order."""
    history = document.get("history", {"states": [], "events": []})
    found: dict[str, Any] = dict(document)
    for name, entries in history.items():
        times = [each["timestamp"] for each in entries]
        assert times == sorted(times), f"the history's {name} are not in order: {times}"
        found[name] = [{key: value for key, value in each.items() if key != "timestamp"} for each in entries]
    found["fields"] = sorted(document)
    return found


def _compare(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {found[name]!r}, expected {wanted!r}" for name, wanted in expected.items() if found[name] != wanted
    ]


def _compare_calls(expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """In any order; of the headers only those that are named."""
    left = list(found)
    lines: list[str] = []
    for wanted in expected:
        match = next((call for call in left if _is_call(wanted, call)), None)
        if match is None:
            lines.append(f"no call {wanted!r} among {found!r}")
        else:
            left.remove(match)
    return lines + [f"a call too many: {call!r}" for call in left]


def _is_call(wanted: Mapping[str, Any], call: Mapping[str, Any]) -> bool:
    headers = wanted.get("headers", {})
    return all(call[name] == value for name, value in wanted.items() if name != "headers") and all(
        call["headers"].get(name.lower()) == value for name, value in headers.items()
    )
