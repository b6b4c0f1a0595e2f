"""The API's OpenAPI 3.1 document, made from the same table that the server is made of, so that it cannot drift.

Schemas come from the types that the handlers decode and encode. The 500 that every route can answer is added here; 404
and 405 for what is no route at all are not listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from flowmachine.api.answers import JSON, ErrorAnswer

_REFERENCES: Final = "#/components/schemas/{name}"
_REFUSALS: Final = {
    HTTPStatus.BAD_REQUEST: "The request is wrong; the message names what and where.",
    HTTPStatus.NOT_FOUND: "There is no such saga.",
    HTTPStatus.UNAUTHORIZED: "The bearer token is missing or wrong (only if the machine asks for one).",
    HTTPStatus.CONFLICT: "The event changed nothing: the saga is not where it would fit (`throwOnUnexpectedEvents`).",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The event's payload does not fit its schema (`throwOnUnexpectedEvents`).",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not JSON.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A bug of the engine; the message has the reference of its log line.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The log is away, or the engine stops. Come back after `Retry-After` seconds.",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something in the path or in a header that the operation takes."""

    place: str
    name: str
    description: str
    schema: tuple[tuple[str, object], ...] = (("type", "string"),)


@dataclass(frozen=True, slots=True)
class Operation:
    """One route, described. `answer` and `trouble` are the types of the bodies of 200 and of a probe's 503."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    request: type | None = None
    answer: type | None = None
    answer_type: str = JSON
    trouble: type | None = None
    refusals: tuple[HTTPStatus, ...] = ()
    is_deprecated: bool = False

    @property
    def is_protected(self) -> bool:
        """Whether it asks for a bearer token if the machine has tokens: all but what kubelet and Prometheus look at."""
        return self.tag != "probes"


def build_openapi(operations: Sequence[Operation], *, version: str) -> dict[str, Any]:
    """The document."""
    types = {
        kind for operation in operations for kind in (operation.request, operation.answer, operation.trouble) if kind
    }
    _, components = msgspec.json.schema_components(
        [ErrorAnswer, *sorted(types, key=lambda kind: kind.__name__)], ref_template=_REFERENCES
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _build_operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FlowMachine engine",
            "version": version or "0",
            "description": "Create sagas, report events, read sagas. Any engine of a machine serves any request.",
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {"schemas": components},
    }


def _build_operation(operation: Operation) -> dict[str, Any]:
    built: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _build_responses(operation),
    }
    if operation.description:
        built["description"] = operation.description
    if operation.is_deprecated:
        built["deprecated"] = True
    if operation.parameters:
        built["parameters"] = [
            {
                "in": parameter.place,
                "name": parameter.name,
                "required": parameter.place == "path",
                "description": parameter.description,
                "schema": dict(parameter.schema),
            }
            for parameter in operation.parameters
        ]
    if operation.request is not None:
        built["requestBody"] = {"required": True, "content": _content(operation.request)}
    return built


def _build_responses(operation: Operation) -> dict[str, Any]:
    anything: dict[str, Any] = {operation.answer_type: {}}
    content = anything if operation.answer is None else _content(operation.answer)
    responses: dict[str, Any] = {"200": {"description": "Success.", "content": content}}
    if operation.trouble is not None:
        responses["503"] = {"description": "`problems` says what is wrong.", "content": _content(operation.trouble)}
    refusals = {*operation.refusals, HTTPStatus.INTERNAL_SERVER_ERROR}
    if operation.is_protected:
        refusals.add(HTTPStatus.UNAUTHORIZED)
    for status in sorted(refusals):
        responses[str(status.value)] = {"description": _REFUSALS[status], "content": _content(ErrorAnswer)}
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            responses[str(status.value)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return responses


def _content(kind: type) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": _REFERENCES.format(name=kind.__name__)}}}
