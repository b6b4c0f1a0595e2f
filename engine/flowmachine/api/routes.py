"""The one table of routes."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from flowmachine.api.bodies import ID_BYTES_MAX, IDEMPOTENCY_KEY, EventBody
from flowmachine.api.handlers import ROUTED_HEADER, CheckUp, EventTaken, Handlers, Health, SagaCreated
from flowmachine.api.openapi import Operation, Parameter
from flowmachine.api.saga_answer import SagaAnswer
from flowmachine.api.saga_query import DESCRIPTIONS, LIMIT_MAX
from flowmachine.wire.intake import Creation
from flowmachine.wire.listing import SagaPage, Scan
from flowmachine.wire.outcome import EventOutcome

Handle = Callable[[Handlers, web.Request], Awaitable[web.StreamResponse]]

_BODY_REFUSALS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_READ_REFUSALS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
_SAGA_ID: Final = Parameter("path", "sagaId", f"The saga's id; at most {ID_BYTES_MAX} bytes.")
_QUERY_SCHEMAS: Final[dict[str, tuple[tuple[str, object], ...]]] = {
    "finished": (("type", "boolean"),),
    "updatedBefore": (("type", "string"), ("format", "date-time")),
    "limit": (("type", "integer"), ("minimum", 1), ("maximum", LIMIT_MAX)),
}
_QUERY: Final = tuple(
    Parameter("query", name, description, _QUERY_SCHEMAS.get(name, (("type", "string"),)))
    for name, description in DESCRIPTIONS.items()
)

ROUTES: Final[tuple[tuple[Operation, Handle], ...]] = (
    (
        Operation(
            method="POST",
            path="/saga",
            name="createSaga",
            tag="sagas",
            summary="Create a saga",
            description="Answers once the creation is safe in the log. The saga then enters the initial state and its "
            "command is sent.",
            parameters=(
                Parameter(
                    "header",
                    IDEMPOTENCY_KEY,
                    "Requests with the same key create one saga, and are answered with its id.",
                    (("type", "string"), ("pattern", "^[\\x21-\\x7e]{1,255}$")),
                ),
            ),
            request=Creation,
            answer=SagaCreated,
            refusals=_BODY_REFUSALS,
        ),
        Handlers.create_saga,
    ),
    (
        Operation(
            method="POST",
            path="/event",
            name="reportEvent",
            tag="sagas",
            summary="Report an event",
            description="Answers once the event is safe in the log. An event that changes nothing (unknown saga, not "
            "listed in the saga's state, payload against its schema) is kept in the machine's `unmatched` topic. With "
            "`throwOnUnexpectedEvents` the answer waits for it, and tells it: 404, 409, 422.",
            request=EventBody,
            answer=EventTaken,
            refusals=(*_BODY_REFUSALS, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
        ),
        Handlers.report_event,
    ),
    (
        Operation(
            method="GET",
            path="/sagas/{sagaId}",
            name="readSaga",
            tag="sagas",
            summary="Read a saga",
            description="As it is now; any engine may be asked.",
            parameters=(_SAGA_ID, Parameter("header", ROUTED_HEADER, "`1`: do not ask another engine.")),
            answer=SagaAnswer,
            refusals=_READ_REFUSALS,
        ),
        Handlers.read_saga,
    ),
    (
        Operation(
            method="GET",
            path="/sagas",
            name="listSagas",
            tag="sagas",
            summary="List sagas",
            description="In pages, in an order that no saga changes its place in: a saga that is there during the "
            "whole list is in it once. A page may be short or empty and still have a `nextCursor`, because the work "
            "for one page is bounded; the list ends where it is null.",
            parameters=_QUERY,
            answer=SagaPage,
            refusals=(HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE),
        ),
        Handlers.list_sagas,
    ),
    (
        Operation(
            method="GET",
            path="/machine-definition",
            name="readMachineDefinition",
            tag="machine",
            summary="Read the machine",
        ),
        Handlers.read_machine_definition,
    ),
    (
        Operation(
            method="GET",
            path="/configuration",
            name="readConfiguration",
            tag="machine",
            summary="Read the configuration, without secrets",
            is_deprecated=True,
        ),
        Handlers.read_configuration,
    ),
    (
        Operation(
            method="GET",
            path="/-/healthz",
            name="readHealth",
            tag="probes",
            summary="Is the process of any use? 503 once its engine has ended",
            answer=Health,
            trouble=Health,
        ),
        Handlers.read_health,
    ),
    (
        Operation(
            method="GET",
            path="/-/ready",
            name="readReadiness",
            tag="probes",
            summary="Are partitions assigned and restored, and does the log answer?",
            answer=Health,
            trouble=Health,
        ),
        Handlers.read_readiness,
    ),
    (
        Operation(
            method="GET",
            path="/-/check-up",
            name="readCheckUp",
            tag="probes",
            summary="As ready, with the phase of every partition of this engine",
            answer=CheckUp,
            trouble=CheckUp,
        ),
        Handlers.read_check_up,
    ),
    (
        Operation(
            method="GET",
            path="/-/metrics",
            name="readMetrics",
            tag="probes",
            summary="Metrics for Prometheus",
            answer_type="text/plain",
        ),
        Handlers.read_metrics,
    ),
    (
        Operation(
            method="GET",
            path="/-/internal/sagas",
            name="scanRecords",
            tag="internal",
            summary="Sagas of a home partition that this engine owns, for other engines",
            parameters=(Parameter("query", "request", "What another engine asks for, as JSON."),),
            answer=Scan,
            refusals=(HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE),
        ),
        Handlers.scan_records,
    ),
    (
        Operation(
            method="GET",
            path="/-/internal/sagas/{sagaId}",
            name="readRecord",
            tag="internal",
            summary="A saga's record as this engine has it, for other engines",
            parameters=(_SAGA_ID,),
            refusals=_READ_REFUSALS,
        ),
        Handlers.read_record,
    ),
    (
        Operation(
            method="GET",
            path="/-/internal/outcomes/{partition}/{offset}",
            name="readOutcome",
            tag="internal",
            summary="What became of an event of the intake, for other engines",
            parameters=(
                Parameter("path", "partition", "The home partition."),
                Parameter("path", "offset", "Where the event was appended."),
            ),
            answer=EventOutcome,
            refusals=_READ_REFUSALS,
        ),
        Handlers.read_outcome,
    ),
    (
        Operation(
            method="GET",
            path="/openapi.json",
            name="readOpenapi",
            tag="machine",
            summary="This document",
        ),
        Handlers.read_openapi,
    ),
)
