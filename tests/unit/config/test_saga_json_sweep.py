"""Each field of a saga.json missing, of every wrong type, and unknown: a finding at its place, and never a traceback.

What there is to be wrong comes from the models: a field that is new in one of them has to be in `WHOLE`.
"""

import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from flowmachine.cli.main import main
from flowmachine.config import machine_model, settings, stores
from flowmachine.config.channels import KafkaChannel, RestChannel, Sasl, Tls
from flowmachine.config.documents import Path as Place
from flowmachine.config.documents import format_path
from flowmachine.config.fields import Model
from flowmachine.config.load import load_document
from flowmachine.errors import ConfigurationError, Problem

SECRET = {"type": "file", "path": "/run/secrets/value"}
HOOK = {"type": "file", "encoding": "plain", "content": "export default () => ({payload: {}})"}
WHOLE: Final[dict[str, Any]] = {
    "machineDefinition": {
        "initialState": "paying",
        "creationEvent": "__created__",
        "states": [
            {
                "id": "paying",
                "description": "money is on its way",
                "isFinal": False,
                "businessStateId": 0,
                "outputCommand": {"channel": "kafka", "label": "executePayment", "hook": HOOK},
                "sideEffects": [{"channel": "http", "label": "notify", "payload": "saga.metadata"}],
                "outgoingTransitions": [
                    {
                        "inputEvent": "paymentExecuted",
                        "targetState": "paid",
                        "businessEventId": 0,
                        "payloadValidationSchema": {"type": "object"},
                    }
                ],
            },
            {"id": "paid", "isFinal": True, "businessStateId": 1},
        ],
        "businessStates": [{"id": 0, "description": "open"}, {"id": 1, "description": "paid"}],
        "businessEvents": [{"id": 0, "description": "money came"}],
    },
    "communicationProtocols": [
        {
            "id": "kafka",
            "type": "kafka",
            "configurations": {
                "brokers": ["a:1", "b:2"],
                "inputTopics": ["events"],
                "outputTopics": ["commands"],
                "consumerGroup": "orders",
                "authenticationProperties": {
                    "ssl": {"ca": SECRET, "cert": "c", "key": SECRET, "passphrase": "hunter2"},
                    "sasl": {"mechanism": "scram-sha-256", "username": SECRET, "password": "hunter2"},
                },
            },
        },
        {
            "id": "http",
            "type": "rest",
            "configurations": {
                "protocol": "https",
                "endpoint": "notifier",
                "port": 8080,
                "path": "/notify",
                "method": "PUT",
                "headers": {"X-Key": SECRET, "X-Other": "hunter2"},
            },
        },
    ],
    "persistencyManagement": {
        "type": "mongo",
        "readThrough": True,
        "configurations": {"connectionUri": "mongodb://u:hunter2@db", "collectionName": "sagas"},
    },
    "settings": {
        "deepMergeMetadata": {"enabled": True, "hook": HOOK},
        "throwOnUnexpectedEvents": True,
        "sagaIdPrefix": "order-",
        "alignPartitioners": ["java"],
        "retention": {"finished": "1h"},
        "internalTopics": {"prefix": "flowmachine.", "replicationFactor": 3, "minInSyncReplicas": 2, "create": True},
        "homePartitions": 4,
        "delivery": "exactlyOnce",
        "batch": {"maxRecords": 1000, "lingerMs": 5},
        "rest": {"attemptsMax": 5, "sideEffectAttemptsMax": 5, "timeoutSeconds": 5, "concurrencyPerHost": 5},
        "http": {"bodyMaxBytes": 900000, "tokens": ["hunter2"], "corsOrigins": ["*"]},
    },
}

MACHINE, KAFKA = "machineDefinition", "communicationProtocols[0].configurations"
REST, PERSISTENCE = "communicationProtocols[1].configurations", "persistencyManagement"
STATE = f"{MACHINE}.states[0]"
MODELS: Final[dict[str, type[Model]]] = {
    MACHINE: machine_model.MachineDefinition,
    STATE: machine_model.State,
    f"{STATE}.outputCommand": machine_model.OutputCommand,
    f"{STATE}.outputCommand.hook": machine_model.Hook,
    f"{STATE}.sideEffects[0]": machine_model.OutputCommand,
    f"{STATE}.outgoingTransitions[0]": machine_model.OutgoingTransition,
    f"{MACHINE}.businessStates[0]": machine_model.BusinessState,
    f"{MACHINE}.businessEvents[0]": machine_model.BusinessEvent,
    KAFKA: KafkaChannel,
    f"{KAFKA}.authenticationProperties.ssl": Tls,
    f"{KAFKA}.authenticationProperties.sasl": Sasl,
    REST: RestChannel,
    PERSISTENCE: settings.Persistence,
    f"{PERSISTENCE}.configurations": stores.MongoSettings,
    "settings": settings.Settings,
    "settings.deepMergeMetadata": settings.DeepMergeMetadata,
    "settings.deepMergeMetadata.hook": machine_model.Hook,
    "settings.retention": settings.Retention,
    "settings.internalTopics": settings.InternalTopics,
    "settings.batch": settings.Batch,
    "settings.rest": settings.RestSettings,
    "settings.http": settings.HttpSettings,
}
NAMES: Final = {"endpoint": "host"}
"""Of fields that Flow Manager calls otherwise."""
NOT_HERE: Final = {
    f"{STATE}.outputCommand": {"payload"},  # one of the two only
    f"{STATE}.sideEffects[0]": {"hook"},
    KAFKA: {"tls", "sasl"},  # `authenticationProperties`
    f"{KAFKA}.authenticationProperties.ssl": {"enabled"},  # `ssl: true`
    f"{KAFKA}.authenticationProperties.sasl": {"token", "tokenEndpoint", "clientId", "clientSecret", "scope"},
    REST: {"tls"},  # has no place in the file
}
_PROTOCOL: Final = ("communicationProtocols", 0)
_AUTHENTICATION: Final = (*_PROTOCOL, "configurations", "authenticationProperties")
_SECRETS: Final = (
    (*_AUTHENTICATION, "ssl", "ca"),
    (*_AUTHENTICATION, "ssl", "key"),
    (*_AUTHENTICATION, "sasl", "username"),
    ("communicationProtocols", 1, "configurations", "headers", "X-Key"),
)
REQUIRED: Final = {
    (MACHINE,),
    ("communicationProtocols",),
    *(("communicationProtocols", index, name) for index in (0, 1) for name in ("id", "type", "configurations")),
    (*_PROTOCOL, "configurations", "consumerGroup"),  # with `inputTopics`
    *((*_AUTHENTICATION, "sasl", name) for name in ("username", "password")),
    *((*secret, name) for secret in _SECRETS for name in ("type", "path")),
}
"""Beside those that a model requires: what only Flow Manager's form has, and what is needed with something else."""
ALSO: Final[dict[str, tuple[type, ...]]] = {"brokers": (str,), "ssl": (bool,), "id": (str,)}
WRONG: Final[tuple[Any, ...]] = (5, "surprise", True, ["surprise"], {"surprise": 5}, [])
FREE: Final = (("payloadValidationSchema",), ("headers",))


def at(place: Place, document: Any) -> Any:
    for part in place:
        document = document[part]
    return document


def objects(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where the document has fields; `FREE` ones may have any."""
    if isinstance(value, dict):
        if place[-1:] not in FREE:
            yield place
        for name, item in value.items():
            yield from objects(item, (*place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from objects(item, (*place, index))


OBJECTS: Final = list(objects(WHOLE))
FIELDS: Final = [(*place, name) for place in OBJECTS for name in at(place, WHOLE)]


def model_of(place: Place) -> type[Model] | None:
    """The machine's lists have entries of one kind, so the first one's model is that of all."""
    in_machine = place[:1] == (MACHINE,)
    return MODELS.get(format_path(tuple(0 if in_machine and isinstance(part, int) else part for part in place)))


def is_required(place: Place) -> bool:
    if place in REQUIRED:
        return True
    model, name = model_of(place[:-1]), str(place[-1])
    fields = {} if model is None else {field.alias or key: field for key, field in model.model_fields.items()}
    field = fields.get(NAMES.get(name, name))
    return field is not None and field.is_required()


def with_value(place: Place, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(WHOLE)
    at(place[:-1], document)[place[-1]] = value
    return document


def without(place: Place) -> dict[str, Any]:
    document = copy.deepcopy(WHOLE)
    del at(place[:-1], document)[place[-1]]
    return document


def wrong_documents(place: Place) -> Iterator[dict[str, Any]]:
    """The field with a value of every type that it must not have."""
    right = at(place, WHOLE)
    for value in WRONG:
        is_secret = isinstance(right, dict) and right.keys() == SECRET.keys() and isinstance(value, str)
        if type(value) not in (type(right), *ALSO.get(str(place[-1]), ())) and not is_secret:
            yield with_value(place, value)


def problems_of(document: dict[str, Any]) -> list[str]:
    """The places of all problems; none: it is good."""
    problems: tuple[Problem, ...] = ()
    try:
        load_document(document, "saga.json", name="orders")
    except ConfigurationError as error:
        problems = tuple(error.problems)
    assert not any("hunter2" in problem.message for problem in problems)
    return [problem.path for problem in problems]


def is_told(problems: list[str], place: Place) -> bool:
    """At the field itself or, where a list or a mapping is wrong, inside."""
    path = format_path(place)
    return any(problem == path or problem.startswith((f"{path}.", f"{path}[")) for problem in problems)


def test_whole_document_is_good_and_has_every_field_of_the_models() -> None:
    assert problems_of(WHOLE) == []
    for path, model in MODELS.items():
        place: Place = next(place for place in OBJECTS if format_path(place) == path)
        here = {NAMES.get(name, name) for name in at(place, WHOLE)} - {"authenticationProperties"}
        aliases = {field.alias or name for name, field in model.model_fields.items()}
        assert here == aliases - NOT_HERE.get(path, set()), path


@pytest.mark.parametrize("place", FIELDS, ids=format_path)
def test_what_is_wrong_is_a_finding_at_its_place(place: Place) -> None:
    for document in (without(place), with_value(place, None)):
        problems = problems_of(document)
        assert (format_path(place) in problems) == is_required(place), problems
    for document in wrong_documents(place):
        problems = problems_of(document)
        assert is_told(problems, place), (at(place, document), problems)


@pytest.mark.parametrize("place", OBJECTS, ids=format_path)
def test_field_that_nobody_knows_is_a_finding_at_its_place(place: Place) -> None:
    assert is_told(problems_of(with_value((*place, "surprise"), 5)), (*place, "surprise"))


@pytest.mark.parametrize(
    "path",
    [
        (MACHINE, "initialState"),
        (MACHINE, "states", 0, "businessStateId"),
        (MACHINE, "states", 0, "outputCommand", "channel"),
        (MACHINE, "states", 0, "sideEffects", 0, "channel"),
        (MACHINE, "states", 0, "outgoingTransitions", 0, "targetState"),
        (MACHINE, "states", 0, "outgoingTransitions", 0, "businessEventId"),
    ],
    ids=format_path,
)
def test_reference_to_nothing_is_a_finding_at_its_place(path: Place) -> None:
    assert problems_of(with_value(path, "nowhere")) == [format_path(path)]


@pytest.fixture
def logging_is_as_before() -> Iterator[None]:
    """`run` sets logging up for its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_is_as_before")
@pytest.mark.parametrize("place", FIELDS, ids=format_path)
def test_every_command_tells_it(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "saga.json"
    file.write_text(json.dumps(next(wrong_documents(place))), "utf-8")
    assert main(["check", "-f", str(file), "--output", "json"]) == 1
    assert is_told([each["path"] for each in json.loads(capsys.readouterr().out)["problems"]], place)
    for arguments in (["import", str(file)], ["run", "-f", str(file)]):
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert format_path(place) in said.err
        assert "Traceback" not in said.err
