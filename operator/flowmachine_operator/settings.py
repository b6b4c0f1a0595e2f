"""What the operator is told by its environment, read once at start. Every variable begins with FLOWMACHINE_OPERATOR_.

`python -m flowmachine_operator --help` lists them from here; the chart sets them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from flowmachine.errors import ConfigurationError, Problem

PREFIX: Final = "FLOWMACHINE_OPERATOR_"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("json", "text")
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")

_LABEL: Final = re.compile(r"(?:[a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?=[-._A-Za-z0-9]*")
_PORT_MAX: Final = 65535


def _text(text: str) -> str:
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _labels(text: str) -> Mapping[str, str]:
    pairs = _list(text)
    for pair in pairs:
        if not _LABEL.fullmatch(pair):
            raise ValueError(f"{pair!r} is not a label KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _one_of(allowed: tuple[str, ...], *, may_be_empty: bool = False) -> Callable[[str], Any]:
    def parse(text: str) -> str | None:
        if may_be_empty and not text:
            return None
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _variable(help_text: str, default: str | None, parse: Callable[[str], Any] = _text) -> Any:
    """A field that is read from the variable of its name; `default` is a text as it would stand there, None: needed."""
    metadata = {"help": help_text, "parse": parse, "default": default}
    return (
        field(metadata=metadata)
        if default is None
        else field(default_factory=lambda: parse(default), metadata=metadata)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The variables; the name of each is its field's in capitals."""

    engine_image: str = _variable("image of the engines; a machine's template goes before it", None)
    engine_image_pull_policy: str | None = _variable(
        "pull policy of that image; empty: Kubernetes' own", "", _one_of(PULL_POLICIES, may_be_empty=True)
    )
    engine_image_pull_secrets: tuple[str, ...] = _variable("pull secrets of the engines' pods, with commas", "", _list)
    engine_labels: Mapping[str, str] = _variable("labels KEY=VALUE for all children, with commas", "", _labels)
    network_policies: bool = _variable("whether each machine gets a NetworkPolicy", "false", _flag)
    pod_monitors: bool = _variable("whether each machine gets a PodMonitor, where that kind exists", "false", _flag)

    namespaces: tuple[str, ...] = _variable("namespaces to watch, with commas; empty: all", "", _list)
    namespace: str = _variable("the operator's own namespace: Lease and certificate are there", "default")
    identity: str = _variable("who holds the Lease: the pod's name; empty: the host's name", "")
    lease_name: str = _variable("the Lease by which one of several operators acts", "flowmachine-operator")
    lease_seconds: int = _variable("how long a silent operator keeps the Lease", "12", _whole(3, 300))

    http_port: int = _variable("port of /healthz, /readyz and /metrics", "8081", _whole(1, _PORT_MAX))

    webhook: bool = _variable("whether the validating webhook is served", "false", _flag)
    webhook_port: int = _variable("its port (HTTPS)", "9443", _whole(1, _PORT_MAX))
    webhook_service: str = _variable("Service in front of it: the name in its certificate", "flowmachine-operator")
    webhook_cert_dir: Path | None = _variable(
        "folder with tls.crt and tls.key, for example from cert-manager; read again when they change. "
        "Empty: the operator makes its own certificate and renews it",
        "",
        _path,
    )
    webhook_secret: str = _variable(
        "own certificate: the Secret that keeps it for all operators", "flowmachine-operator-webhook"
    )
    webhook_configuration: str = _variable(
        "own certificate: the ValidatingWebhookConfiguration whose caBundle is kept current", "flowmachine-operator"
    )

    resync_seconds: int = _variable(
        "how often a machine is looked at although nothing changed", "300", _whole(1, 86400)
    )
    facts_seconds: int = _variable("how often Kafka, Secrets and engines are asked", "30", _whole(1, 60))
    workers: int = _variable("how many machines are worked on at once", "8", _whole(1, 256))

    log_level: str = _variable("debug, info, warning or error", "info", _one_of(LOG_LEVELS))
    log_format: str = _variable("json or text", "json", _one_of(LOG_FORMATS))


def parse_settings(environment: Mapping[str, str]) -> Settings:
    """The settings. Raises ConfigurationError with everything that is wrong in them.

    Other variables of the prefix are left alone: Kubernetes makes some for a Service called `flowmachine-operator`.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    known = {_variable_name(item): item for item in fields(Settings)}
    for name, item in known.items():
        text = environment.get(name, "")
        if not text and item.metadata["default"] is None:
            problems.append(Problem(name, "missing", "is required"))
        elif text:
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                problems.append(Problem(name, "wrong-form", str(error)))
    if problems:
        raise ConfigurationError(problems)
    return Settings(**values)


def describe_settings() -> str:
    """A table for `--help`."""
    rows = [(_variable_name(item), item.metadata["help"], item.metadata["default"]) for item in fields(Settings)]
    width = max(len(name) for name, _, _ in rows)
    told = {None: " (required)", "": ""}
    return "\n".join(f"  {name:<{width}}  {text}{told.get(default, f' ({default})')}" for name, text, default in rows)


def _variable_name(item: Field[Any]) -> str:
    return f"{PREFIX}{item.name.upper()}"
