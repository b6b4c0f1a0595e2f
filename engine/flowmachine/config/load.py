"""The entry of the configuration: text or a decoded document -> a FlowMachine, or all problems at once.

1. The text becomes documents (`text`); exactly one of them is a FlowMachine or a Flow Manager configuration.
2. A Flow Manager configuration is converted (`flow_manager`).
3. The models and `references` judge the same document, neither waiting for the other.
4. Problems are sorted by path; those of a converted file carry its own paths.
"""

from itertools import islice

from pydantic import ValidationError

from flowmachine.config.documents import Document, Fault, as_object, check_document, format_path, is_object
from flowmachine.config.flow_manager import Converted, convert_saga_json, find_name, is_saga_json
from flowmachine.config.problems import FAULTS_MAX, describe_errors
from flowmachine.config.references import check_references
from flowmachine.config.resource import API_VERSION, KIND, FlowMachine
from flowmachine.config.text import parse_documents
from flowmachine.errors import ConfigurationError, Problem


def load_text(
    text: bytes | str, source_name: str, *, name: str | None = None, saga_id_prefix: str | None = None
) -> FlowMachine:
    """The one FlowMachine of a YAML or JSON file. Raises ConfigurationError with every problem of the file.

    `name` and `saga_id_prefix` are for a Flow Manager `saga.json`, which says neither; it is named after its consumer
    group if nothing else is said.
    """
    document = _choose(parse_documents(text, source_name), source_name)
    return _load(document, source_name, name=name, saga_id_prefix=saga_id_prefix)


def load_document(
    value: object, source_name: str, *, name: str | None = None, saga_id_prefix: str | None = None
) -> FlowMachine:
    """As `load_text`, for a document that is decoded already, such as an object from the Kubernetes API."""
    document = Document(value, tuple(check_document(value, source_name=source_name)))
    return _load(document, source_name, name=name, saga_id_prefix=saga_id_prefix)


def _choose(documents: list[Document], source_name: str) -> Document:
    if not documents:
        raise ConfigurationError.of(source_name, "empty", "is empty; a FlowMachine is expected")
    if len(documents) == 1:
        return documents[0]
    machines = [document for document in documents if _is_machine(document.value)]
    if len(machines) != 1:
        found = "none of them is a FlowMachine" if not machines else f"{len(machines)} of them are FlowMachines"
        message = f"holds {len(documents)} documents, and {found}; exactly one is expected"
        raise ConfigurationError.of(source_name, "not-one-machine", message)
    return machines[0]


def _is_machine(value: object) -> bool:
    return as_object(value).get("kind") == KIND or is_saga_json(value)


def _load(document: Document, source_name: str, *, name: str | None, saga_id_prefix: str | None) -> FlowMachine:
    value = document.value
    if not is_object(value):
        raise ConfigurationError.of(source_name, "wrong-type", "must be a mapping of fields: a FlowMachine")
    if is_saga_json(value):
        converted = convert_saga_json(value, name=name or find_name(value), saga_id_prefix=saga_id_prefix)
    elif not value.keys() & {"apiVersion", "kind", "metadata", "spec"}:
        message = (
            f"is neither a FlowMachine (apiVersion: {API_VERSION}, kind: {KIND}, metadata, spec) nor a Flow Manager "
            "configuration (machineDefinition, communicationProtocols, ...)"
        )
        raise ConfigurationError.of(source_name, "not-a-machine", message)
    else:
        converted = Converted(value, (), {}, frozenset())
    resource, found = _validate(converted.document)
    moved = (converted.move(fault) for fault in found)
    faults = [*document.faults, *converted.faults, *(fault for fault in moved if fault is not None)]
    if resource is None or faults:
        raise ConfigurationError(_to_problems(faults, source_name))
    return resource


def _validate(document: dict[str, object]) -> tuple[FlowMachine | None, list[Fault]]:
    resource: FlowMachine | None = None
    faults: list[Fault] = []
    try:
        resource = FlowMachine.model_validate(document)
    except ValidationError as error:
        faults.extend(describe_errors(error))
    faults.extend(islice(check_references(document), FAULTS_MAX + 1))
    return resource, faults


def _to_problems(faults: list[Fault], source_name: str) -> list[Problem]:
    unique = {(fault.path, fault.code): fault for fault in reversed(faults)}.values()
    ordered = sorted(unique, key=_order)
    problems = [Problem(format_path(fault.path), fault.code, fault.message) for fault in ordered[:FAULTS_MAX]]
    if len(ordered) > FAULTS_MAX:
        problems.append(Problem(source_name, "too-many", f"has more problems than these {FAULTS_MAX}"))
    return problems


def _order(fault: Fault) -> list[tuple[bool, int, str]]:
    return [(isinstance(part, str), part if isinstance(part, int) else 0, str(part)) for part in fault.path]
