"""Files of cases (`tests/conformance/cases/*.yaml`), and the saga.json that an engine needs to be put to one.

A file:

    channels       Flow Manager's `communicationProtocols`; by default one Kafka channel, `services`
    persistence    its `persistencyManagement`; by default a REST service of the suite's
    configuration  the rest of the saga.json
    files          secret files, by name; `{{folder}}/NAME` is their path
    environment    variables for the engine
    answers        by path: the statuses that the suite's HTTP endpoints answer a saga's commands with, in turn; the
                   last one stays. 200 where nothing is said
    ours           merged into the saga.json for FlowMachine only
    cases          see below

A case is one saga: what is done, then what is expected; what is left out of `expect` is not looked at.

    covers    ids of `requirements.yaml`
    only      `flowmachine`: not specified, so not for other engines
    create    body of `POST /saga`, or
    stored    the document that the store has already
    via       how inputs come: `topic` (default) or `http`, `POST /event`
    inputs    messages, or `record`s as they are: {key, value, headers, topic, partition: elsewhere}; the last one must
              have a visible effect, because an engine need not say when it is done
    requests  after the inputs: {method, path, body}, and of the answer {status, json, has, lacks}; `status` is a
              number, `ok` or `error`
    expect    fields of the stored document; `states` and `events` of its history without their times; `fields`: the
              names of all its fields; `sagaId`: a pattern; `commands`: the messages in `{{commands}}`; `topics`: those
              of other topics; `calls`: requests to the suite's HTTP endpoints, in any order; `metrics`: by how much
              `flow_manager_saga_states_total` grows; `hold` and `held`: what FlowMachine says about a failed hook

`{{brokers}}`, `{{events}}`, `{{commands}}`, `{{group}}`, `{{host}}`, `{{port}}` (of the HTTP endpoints), `{{folder}}`
and `{{sagaId}}` stand for what they say.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[2] / "conformance"
CASES: Final = FOLDER / "cases"
NAMES: Final = tuple(sorted(file.stem for file in CASES.glob("*.yaml")))
STORE_PATH: Final = "/stored"
COLLECTION: Final = "sagas"

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_CHANNELS: Final = [
    {
        "id": "services",
        "type": "kafka",
        "configurations": {
            "brokers": "{{brokers}}",
            "inputTopics": ["{{events}}"],
            "outputTopics": ["{{commands}}"],
            "consumerGroup": "{{group}}",
        },
    }
]
_PERSISTENCE: Final = {
    "type": "rest",
    "configurations": {
        "protocol": "http",
        "endpoint": "{{host}}",
        "port": "{{port}}",
        "path": STORE_PATH,
        "method": "PUT",
    },
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine finds what it needs; `stem` begins the names of its topics."""

    stem: str
    brokers: str
    host: str
    port: int
    folder: Path

    def values(self) -> dict[str, Any]:
        """What the placeholders stand for."""
        return {
            "brokers": self.brokers,
            "events": f"{self.stem}-events",
            "commands": f"{self.stem}-commands",
            "group": self.stem,
            "host": self.host,
            "port": self.port,
            "folder": str(self.folder),
        }


def read_cases(name: str) -> dict[str, Any]:
    """A file of cases."""
    cases: dict[str, Any] = yaml.safe_load((CASES / f"{name}.yaml").read_text("utf-8"))
    return cases


def fill(value: Any, values: Mapping[str, Any]) -> Any:
    """The value with its placeholders filled in; one that is the whole text keeps its type."""
    if isinstance(value, dict):
        return {fill(key, values): fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole is not None:
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), value)


def build_saga_json(name: str, place: Place, *, is_ours: bool) -> dict[str, Any]:
    """Flow Manager's configuration for a file of cases."""
    file = read_cases(name)
    document = {
        "communicationProtocols": file.get("channels", _CHANNELS),
        "persistencyManagement": file.get("persistence", _PERSISTENCE),
        **file["configuration"],
    }
    if is_ours:
        document = _merge(document, file.get("ours", {}))
    filled: dict[str, Any] = fill(document, place.values())
    return filled


def write_files(name: str, place: Place) -> None:
    """The secret files, in the place's folder."""
    for file, content in read_cases(name).get("files", {}).items():
        (place.folder / file).write_text(fill(content, place.values()), "utf-8")


def topics_of(saga_json: Mapping[str, Any]) -> list[str]:
    """All topics of a configuration."""
    kafka = [each["configurations"] for each in saga_json["communicationProtocols"] if each["type"] == "kafka"]
    return [topic for each in kafka for topic in (*each.get("inputTopics", ()), *each.get("outputTopics", ()))]


def _merge(value: Any, more: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(more, dict):
        return more
    return value | {key: _merge(value.get(key, {}), item) for key, item in more.items()}
