"""Flow Manager's `saga.json` -> the FlowMachine form, with the way back to the file's own paths.

| saga.json                                                  | FlowMachine                        |
|------------------------------------------------------------|------------------------------------|
| `machineDefinition`                                        | `spec.machine`, unchanged          |
| `communicationProtocols[]: {id, type, configurations}`     | `spec.channels[]: {id, kafka} or {id, rest}` |
| kafka `authenticationProperties: {ssl, sasl}`              | `tls`, `sasl`                      |
| rest `endpoint`                                            | `host`                             |
| `persistencyManagement`                                    | `spec.persistence`                 |
| `settings`, environment `SAGA_ID_PREFIX`                   | `spec.settings`                    |
| `{type: file, path}`                                       | `{file}`                           |

Values of a wrong type are passed on as they are: the models report them, at the original's path.
"""

import re
from collections.abc import Mapping
from typing import Final, final

import msgspec

from flowmachine.config.documents import Fault, Path, as_array, as_object, is_array, is_object
from flowmachine.config.fields import ID_LENGTH_MAX
from flowmachine.config.problems import not_one_of, unknown_field
from flowmachine.config.resource import API_VERSION, KIND

DEFAULT_NAME: Final = "saga"
"""Name of a machine that reads no Kafka topics, so that nothing names it."""

_NOT_IN_NAMES: Final = re.compile("[^a-z0-9]+")
_TOP_FIELDS: Final = ("machineDefinition", "communicationProtocols", "persistencyManagement", "settings")
_CHANNEL_FIELDS: Final = ("id", "type", "configurations")
_KAFKA_FIELDS: Final = ("brokers", "inputTopics", "outputTopics", "consumerGroup", "authenticationProperties")
_AUTHENTICATION_FIELDS: Final = ("ssl", "sasl")
_SECRET_FIELDS: Final = ("type", "path")
_HOLDERS: Final = frozenset({"persistence", "configurations", "headers", "tls", "sasl"})
"""Mappings of values, and no secrets themselves, whatever their fields are called."""
_REST_FIELDS: Final = ("protocol", "endpoint", "port", "path", "method", "headers")


@final
class Converted(msgspec.Struct, frozen=True):
    """A document in the FlowMachine form, and how to speak of it in the original's terms."""

    document: dict[str, object]
    faults: tuple[Fault, ...]
    """What only the original's form can get wrong; their paths are the original's."""

    original_paths: Mapping[Path, Path]
    reported: frozenset[Path]
    """Paths of the FlowMachine form whose original is in `faults` already: nothing more is to be said about them."""

    def move(self, fault: Fault) -> Fault | None:
        """A fault of the FlowMachine form at its place in the original; None if it has been reported there."""
        if any(fault.path[:length] in self.reported for length in range(len(fault.path) + 1)):
            return None
        for length in range(len(fault.path), 0, -1):
            original = self.original_paths.get(fault.path[:length])
            if original is not None:
                return Fault((*original, *fault.path[length:]), fault.code, fault.message)
        return fault


def is_saga_json(document: object) -> bool:
    """Whether a document is a Flow Manager configuration."""
    fields = as_object(document).keys()
    return "machineDefinition" in fields or {"communicationProtocols", "persistencyManagement"} <= fields


def find_name(document: object) -> str:
    """A name for the machine: that of its consumer group, which no other one on these brokers has.

    Two machines of one name would take each other's topics for theirs.
    """
    for protocol in as_array(as_object(document).get("communicationProtocols")):
        group = as_object(as_object(protocol).get("configurations")).get("consumerGroup")
        name = _NOT_IN_NAMES.sub("-", str(group).lower())[:ID_LENGTH_MAX].strip("-") if isinstance(group, str) else ""
        if name:
            return name
    return DEFAULT_NAME


def convert_saga_json(document: object, *, name: str, saga_id_prefix: str | None) -> Converted:
    """The configuration in the FlowMachine form. `saga_id_prefix` is what `SAGA_ID_PREFIX` says, if it is set."""
    return _Converter().convert(as_object(document), name=name, saga_id_prefix=saga_id_prefix)


@final
class _Converter:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._reported: set[Path] = set()
        self._paths: dict[Path, Path] = {
            ("metadata", "name"): ("name",),
            ("spec", "machine"): ("machineDefinition",),
            ("spec", "channels"): ("communicationProtocols",),
            ("spec", "persistence"): ("persistencyManagement",),
            ("spec", "settings"): ("settings",),
        }

    def convert(self, original: dict[str, object], *, name: str, saga_id_prefix: str | None) -> Converted:
        self._refuse_unknown((), original, _TOP_FIELDS)
        spec: dict[str, object] = {}
        if "machineDefinition" in original:
            spec["machine"] = original["machineDefinition"]
        if "communicationProtocols" in original:
            spec["channels"] = self._channels(original["communicationProtocols"])
        if original.get("persistencyManagement") is not None:
            path: Path = ("spec", "persistence")
            spec["persistence"] = self._secrets(path, original["persistencyManagement"])
        if original.get("settings") is not None:
            spec["settings"] = original["settings"]
        if saga_id_prefix is not None and is_object(spec.get("settings", {})):
            spec["settings"] = {**as_object(spec.get("settings")), "sagaIdPrefix": saga_id_prefix}
            self._paths["spec", "settings", "sagaIdPrefix"] = ("SAGA_ID_PREFIX",)
        document: dict[str, object] = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": spec,
        }
        return Converted(document, tuple(self._faults), self._paths, frozenset(self._reported))

    def _channels(self, protocols: object) -> object:
        if not is_array(protocols):
            return protocols
        return [self._channel(index, protocol) for index, protocol in enumerate(protocols)]

    def _channel(self, index: int, protocol: object) -> object:
        if not is_object(protocol):
            return protocol
        path, original = ("spec", "channels", index), ("communicationProtocols", index)
        self._refuse_unknown(original, protocol, _CHANNEL_FIELDS)
        channel: dict[str, object] = {"id": protocol["id"]} if "id" in protocol else {}
        kind, configurations = protocol.get("type"), protocol.get("configurations")
        if kind not in {"kafka", "rest"} if isinstance(kind, str) else True:
            missing = kind is None
            message = "is required: 'kafka' or 'rest'" if missing else not_one_of(kind, ["kafka", "rest"])
            self._report((*original, "type"), path, "missing" if missing else "not-allowed", message)
        elif configurations is None:
            self._report((*original, "configurations"), path, "missing", "is required")
        elif not is_object(configurations):
            message = "must be a mapping of fields"
            self._report((*original, "configurations"), path, "wrong-type", message)
        elif kind == "kafka":
            channel["kafka"] = self._kafka((*path, "kafka"), (*original, "configurations"), configurations)
        else:
            channel["rest"] = self._rest((*path, "rest"), (*original, "configurations"), configurations)
        return channel

    def _kafka(self, path: Path, original: Path, configurations: dict[str, object]) -> dict[str, object]:
        self._paths[path] = original
        self._refuse_unknown(original, configurations, _KAFKA_FIELDS)
        kafka: dict[str, object] = {
            field: configurations[field] for field in _KAFKA_FIELDS[:-1] if field in configurations
        }
        if "brokers" in kafka:
            kafka["brokers"] = self._secrets((*path, "brokers"), kafka["brokers"])
        authentication = configurations.get("authenticationProperties")
        if authentication is None:
            return kafka
        where = (*original, "authenticationProperties")
        if not is_object(authentication):
            self._faults.append(Fault(where, "wrong-type", "must be a mapping of fields"))
            return kafka
        self._refuse_unknown(where, authentication, _AUTHENTICATION_FIELDS)
        ssl, sasl = authentication.get("ssl"), authentication.get("sasl")
        if ssl is not None:
            self._paths[*path, "tls"] = (*where, "ssl")
            kafka["tls"] = {"enabled": ssl} if isinstance(ssl, bool) else self._secrets((*path, "tls"), ssl)
        if sasl is not None:
            self._paths[*path, "sasl"] = (*where, "sasl")
            kafka["sasl"] = _lower_case(self._secrets((*path, "sasl"), sasl), "mechanism")
        return kafka

    def _rest(self, path: Path, original: Path, configurations: dict[str, object]) -> dict[str, object]:
        self._paths[path] = original
        self._paths[*path, "host"] = (*original, "endpoint")
        self._refuse_unknown(original, configurations, _REST_FIELDS)
        rest = {
            "host" if field == "endpoint" else field: configurations[field]
            for field in _REST_FIELDS
            if field in configurations
        }
        if "headers" in rest:
            rest["headers"] = self._secrets((*path, "headers"), rest["headers"])
        port = rest.get("port")
        if isinstance(port, str) and port.isdecimal() and len(port) < 6:
            rest["port"] = int(port)
        return rest

    def _secrets(self, path: Path, value: object) -> object:
        """The value with every `{type: file, path}` in it as `{file}`."""
        if is_object(value):
            if path[-1] not in _HOLDERS and _is_secret(value):
                return self._secret(path, value)
            return {key: self._secrets((*path, key), item) for key, item in value.items()}
        if is_array(value):
            return [self._secrets((*path, index), item) for index, item in enumerate(value)]
        return value

    def _secret(self, path: Path, value: dict[str, object]) -> object:
        original, kind = self._original(path), value.get("type")
        if kind != "file":
            is_missing = kind is None
            message = "is required: 'file'" if is_missing else not_one_of(kind, ["file"])
            self._report((*original, "type"), path, "missing" if is_missing else "not-allowed", message)
        if value.get("path") is None:
            self._report((*original, "path"), path, "missing", "is required: where the secret is")
        self._refuse_unknown(original, value, _SECRET_FIELDS)
        self._paths[*path, "file"] = (*original, "path")
        return {"file": value.get("path")}

    def _original(self, path: Path) -> Path:
        for length in range(len(path), 0, -1):
            original = self._paths.get(path[:length])
            if original is not None:
                return (*original, *path[length:])
        return path

    def _refuse_unknown(self, path: Path, value: dict[str, object], fields: tuple[str, ...]) -> None:
        self._faults.extend(unknown_field((*path, name), fields) for name in value if name not in fields)

    def _report(self, original: Path, path: Path, code: str, message: str) -> None:
        self._faults.append(Fault(original, code, message))
        self._reported.add(path)


def _lower_case(value: object, field: str) -> object:
    if is_object(value) and isinstance(value.get(field), str):
        return {**value, field: str(value[field]).lower()}
    return value


def _is_secret(value: dict[str, object]) -> bool:
    """Whether this is meant to say where a secret is."""
    return value.get("type") == "file" or (bool(value) and value.keys() <= set(_SECRET_FIELDS))
