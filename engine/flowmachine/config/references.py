"""What a schema cannot say about a FlowMachine: ids that must exist or be unique, and fields that need each other.

Everything here reads the plain document, not the models: a wrong type in one place does not hide a dangling reference
in another. What has the wrong type is skipped; the models report it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from flowmachine.config.channels import split_brokers
from flowmachine.config.documents import Fault, Path, as_array, as_object, is_array, is_object
from flowmachine.config.expressions import check_expression
from flowmachine.config.fields import EXPRESSION_LENGTH_MAX
from flowmachine.config.hooks import check_encoding
from flowmachine.config.problems import quote, suggest
from flowmachine.config.schemas import check_schema
from flowmachine.config.stores import check_store

_MACHINE: Final = ("spec", "machine")
_CHANNELS: Final = ("spec", "channels")

_Ids = frozenset[int | str] | None
"""Declared ids; None when they are not declared as a list, so that nothing can be said about references."""


def check_references(document: object) -> Iterator[Fault]:
    """The faults of a document in the FlowMachine form that no model finds."""
    spec = as_object(as_object(document).get("spec"))
    machine = as_object(spec.get("machine"))
    yield from _check_machine(machine)
    yield from _check_states(machine, spec.get("channels"))
    yield from _check_channels(as_array(spec.get("channels")))
    yield from check_store(as_object(spec.get("persistence")))
    yield from _check_settings(as_object(spec.get("settings")))


def _check_machine(machine: dict[str, object]) -> Iterator[Fault]:
    for name, what in (("states", "state"), ("businessStates", "business state"), ("businessEvents", "business event")):
        yield from _check_unique((*_MACHINE, name), as_array(machine.get(name)), field="id", what=what)
    initial = machine.get("initialState")
    yield from _check_exists((*_MACHINE, "initialState"), initial, _declared(machine.get("states"), "state"), "state")


def _check_states(machine: dict[str, object], channels: object) -> Iterator[Fault]:
    states = _declared(machine.get("states"), "state")
    business_states = _declared(machine.get("businessStates"), "business state")
    business_events = _declared(machine.get("businessEvents") or [], "business event")
    carriers = _declared(channels, "channel")
    silent = frozenset(_channels_without_output(channels))
    for path, state in _objects((*_MACHINE, "states"), machine.get("states")):
        yield from _check_exists(
            (*path, "businessStateId"), state.get("businessStateId"), business_states, "business state"
        )
        for command_path, command in _commands(path, state):
            yield from _check_command(command_path, command, carriers, silent)
        transitions = as_array(state.get("outgoingTransitions"))
        yield from _check_unique((*path, "outgoingTransitions"), transitions, field="inputEvent", what="transition")
        for at, transition in _objects((*path, "outgoingTransitions"), transitions):
            yield from _check_exists((*at, "targetState"), transition.get("targetState"), states, "state")
            business_event = transition.get("businessEventId")
            yield from _check_exists((*at, "businessEventId"), business_event, business_events, "business event")
            yield from _check_payload_schema(
                (*at, "payloadValidationSchema"), transition.get("payloadValidationSchema")
            )


def _check_payload_schema(path: Path, schema: object) -> Iterator[Fault]:
    wrong = check_schema(as_object(schema))
    if wrong is not None:
        yield Fault((*path, *wrong[0]), "bad-schema", wrong[1])


def _commands(path: Path, state: dict[str, object]) -> Iterator[tuple[Path, dict[str, object]]]:
    command = as_object(state.get("outputCommand"))
    if command:
        yield (*path, "outputCommand"), command
    yield from _objects((*path, "sideEffects"), state.get("sideEffects"))


def _check_command(path: Path, command: dict[str, object], channels: _Ids, silent: frozenset[str]) -> Iterator[Fault]:
    channel = command.get("channel")
    yield from _check_exists((*path, "channel"), channel, channels, "channel")
    if isinstance(channel, str) and channel in silent:
        message = f"the channel {quote(channel)} has no outputTopics, so it carries no commands"
        yield Fault((*path, "channel"), "no-output-topics", message)
    yield from _check_hook((*path, "hook"), command.get("hook"))
    expression = command.get("payload")
    if expression is not None and command.get("hook") is not None:
        yield Fault((*path, "payload"), "two-payloads", "stands beside a hook; only one of them can make the payload")
    is_text = isinstance(expression, str) and 0 < len(expression) <= EXPRESSION_LENGTH_MAX
    wrong = check_expression(str(expression)) if is_text else None
    if wrong is not None:
        yield Fault((*path, "payload"), "bad-expression", wrong)


def _check_hook(path: Path, hook: object) -> Iterator[Fault]:
    written = as_object(hook)
    wrong = check_encoding(written.get("content"), written.get("encoding", "plain"))
    if wrong is not None:
        yield Fault((*path, "content"), "bad-hook", wrong)


def _channels_without_output(channels: object) -> Iterator[str]:
    for _, channel in _objects(_CHANNELS, channels):
        kafka, name = as_object(channel.get("kafka")), channel.get("id")
        if kafka and not kafka.get("outputTopics") and isinstance(name, str):
            yield name


def _check_channels(channels: list[object]) -> Iterator[Fault]:
    yield from _check_unique(_CHANNELS, channels, field="id", what="channel")
    for path, channel in _objects(_CHANNELS, channels):
        kinds = [kind for kind in ("kafka", "rest") if channel.get(kind) is not None]
        if not kinds:
            yield Fault(path, "channel-kind", "needs either 'kafka' or 'rest'")
        elif len(kinds) > 1:
            yield Fault(path, "channel-kind", "has both 'kafka' and 'rest'; a channel is one of them")
        if is_object(channel.get("kafka")):
            yield from _check_kafka((*path, "kafka"), as_object(channel["kafka"]))
    yield from _check_brokers(channels)


def _check_kafka(path: Path, kafka: dict[str, object]) -> Iterator[Fault]:
    if not kafka.get("inputTopics") and not kafka.get("outputTopics"):
        yield Fault(path, "no-topics", "needs inputTopics, outputTopics, or both")
    if kafka.get("inputTopics") and kafka.get("consumerGroup") is None:
        yield Fault((*path, "consumerGroup"), "missing", "is required, because there are inputTopics")
    sasl = as_object(kafka.get("sasl"))
    wanted: tuple[str, ...] = ("username", "password")
    if sasl.get("mechanism") == "oauthbearer":
        wanted = ("tokenEndpoint", "clientId", "clientSecret") if sasl.get("token") is None else ()
    for field in wanted if isinstance(sasl.get("mechanism"), str) else ():
        if sasl.get(field) is None:
            yield Fault((*path, "sasl", field), "missing", "is required for this mechanism")


def _check_brokers(channels: list[object]) -> Iterator[Fault]:
    first: tuple[object, object] | None = None
    for path, channel in _objects(_CHANNELS, channels):
        brokers = as_object(channel.get("kafka")).get("brokers")
        if brokers is None:
            continue
        listed = split_brokers(brokers)
        named = frozenset(str(address) for address in listed) if is_array(listed) else listed
        if first is None:
            first = (named, channel.get("id"))
        elif named != first[0]:
            message = (
                f"are not the brokers of the channel {quote(first[1])}; all Kafka channels of a machine name the same "
                "ones, because one Kafka transaction spans one cluster"
            )
            yield Fault((*path, "kafka", "brokers"), "different-brokers", message)


def _check_settings(settings: dict[str, object]) -> Iterator[Fault]:
    hook = as_object(settings.get("deepMergeMetadata")).get("hook")
    yield from _check_hook(("spec", "settings", "deepMergeMetadata", "hook"), hook)
    topics = as_object(settings.get("internalTopics"))
    factor, in_sync = topics.get("replicationFactor"), topics.get("minInSyncReplicas")
    if isinstance(factor, int) and isinstance(in_sync, int) and in_sync > factor:
        path = ("spec", "settings", "internalTopics", "minInSyncReplicas")
        yield Fault(path, "out-of-range", "must not be larger than replicationFactor")


def _objects(path: Path, items: object) -> Iterator[tuple[Path, dict[str, object]]]:
    for index, item in enumerate(as_array(items)):
        if is_object(item):
            yield (*path, index), item


def _as_id(value: object, what: str) -> int | str | None:
    if isinstance(value, str):
        return value or None
    return value if what.startswith("business") and isinstance(value, int) and not isinstance(value, bool) else None


def _declared(items: object, what: str) -> _Ids:
    if not is_array(items):
        return None
    ids = (_as_id(as_object(item).get("id"), what) for item in items)
    return frozenset(declared for declared in ids if declared is not None)


def _check_unique(path: Path, items: Iterable[object], *, field: str, what: str) -> Iterator[Fault]:
    seen: set[int | str] = set()
    for index, item in enumerate(items):
        value = _as_id(as_object(item).get(field), what)
        if value is not None and value in seen:
            code = "duplicate-id" if field == "id" else "duplicate-event"
            message = f"{quote(value)} stands in another {what} above already; each may stand once"
            yield Fault((*path, index, field), code, message)
        elif value is not None:
            seen.add(value)


def _check_exists(path: Path, reference: object, declared: _Ids, what: str) -> Iterator[Fault]:
    value = _as_id(reference, what)
    if value is None or declared is None or value in declared:
        return
    other_form = next((known for known in declared if str(known) == str(value)), None)
    if other_form is not None:
        meant = f"; did you mean the {'text' if isinstance(other_form, str) else 'number'} {quote(other_form)}?"
    else:
        meant = suggest(str(value), (str(known) for known in declared))
    yield Fault(path, f"unknown-{what.replace(' ', '-')}", f"{quote(value)} is not a {what}{meant}")
