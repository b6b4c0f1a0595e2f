"""What each route does: check what came in, ask the engine, answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, final

import msgspec
from aiohttp import hdrs, web

from flowmachine.api.answers import RefusedError, answer, answer_error, answer_json
from flowmachine.api.bodies import (
    check_saga_id,
    decode_creation_body,
    decode_event_body,
    idempotency_key,
    read_body,
    too_large,
    trace_context,
)
from flowmachine.api.lifecycle import Lifecycle
from flowmachine.api.saga_answer import decode_saga_answer
from flowmachine.api.saga_query import parse_saga_query
from flowmachine.core.actions import Outcome
from flowmachine.core.trace import TraceContext
from flowmachine.ports import SagaFinder
from flowmachine.runtime.engine import Status
from flowmachine.runtime.projector import StoreStatus
from flowmachine.wire.intake import Creation, encode_creation
from flowmachine.wire.listing import CursorError, Scan, ScanRequest
from flowmachine.wire.message import encode_message
from flowmachine.wire.outcome import EventOutcome, IntakePlace

ROUTED_HEADER: Final = "Flowmachine-Routed"
"""Says that the request comes from another engine: answer it here, or not at all."""
SAGA_HEADER: Final = "Flowmachine-Saga"
"""On the internal route's 404: it is the engine that says so, not whatever else may answer at this address."""
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_REFUSAL_STATUS: Final = {
    Outcome.UNKNOWN_SAGA: HTTPStatus.NOT_FOUND,
    Outcome.INVALID_PAYLOAD: HTTPStatus.UNPROCESSABLE_ENTITY,
    Outcome.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}
"""What a refused event is answered with; 409 for all others: the saga is not where the event would fit."""

_decode_scan_request = msgspec.json.Decoder(ScanRequest).decode


class SagaGateway(Protocol):
    """The part of `runtime.gateway.Gateway` that the routes use."""

    async def create(self, creation: Creation, idempotency_key: str | None, trace: TraceContext | None = None) -> str:
        """Ask for a saga and return its id. Raises TransientError."""
        ...

    async def report(self, saga_id: str, value: bytes, trace: TraceContext | None = None) -> None:
        """Append an event for a saga. Raises TransientError."""
        ...

    async def report_and_wait(self, saga_id: str, value: bytes, trace: TraceContext | None = None) -> EventOutcome:
        """The same, and what became of it. Raises TransientError."""
        ...

    async def outcome(self, place: IntakePlace, *, is_from_peer: bool = False) -> EventOutcome:
        """What became of an event, once that is known. Raises TransientError."""
        ...

    async def read(self, saga_id: str, *, is_from_peer: bool = False) -> bytes | None:
        """A saga's record; None if there is no such saga. Raises TransientError."""
        ...


class SagaScanner(Protocol):
    """The part of `runtime.listing.EngineListing` that other engines use."""

    async def scan(self, request: ScanRequest, *, is_from_peer: bool = False) -> Scan:
        """Part of one home partition. Raises TransientError."""
        ...


class EngineView(Protocol):
    """The part of `runtime.engine.Engine` that the routes use."""

    def status(self) -> Status:
        """How it is now."""
        ...


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the API says about itself, and how much it takes in."""

    name: str = "flowmachine"
    version: str = ""
    body_bytes_max: int = 900_000
    """Less than the 1 MB that a Kafka record may have by default, so that what is accepted can be stored."""
    throws_on_unexpected_events: bool = False
    """Whether `POST /event` waits for what becomes of the event, and answers with an error if it changed nothing."""
    cors_origins: tuple[str, ...] = ()
    is_tracing: bool = False
    """Whether `traceparent` of a request counts."""
    body_seconds_max: float = 30.0
    idle_seconds_max: float = 75.0
    """How long a connection may stay without a whole request: longer than the 60 s of common proxies, and a bound for
    clients that send their headers one byte at a time."""
    shutdown_seconds_max: float = 5.0
    """How long requests in progress may take when the server stops."""


@final
class SagaCreated(msgspec.Struct, frozen=True, rename="camel"):
    """The new saga's id."""

    saga_id: str


@final
class EventTaken(msgspec.Struct, frozen=True):
    """Nothing: the event is safe, and will be applied in order."""


@final
class Health(msgspec.Struct, frozen=True):
    """How the engine is: `status` is OK or KO, `problems` says in sentences why."""

    name: str
    status: str
    version: str
    problems: tuple[str, ...]


@final
class StoreState(msgspec.Struct, frozen=True):
    """How the store is. While `status` is KO sagas go on: it is no reason for the engine to be unready."""

    type: str
    status: str
    code: str
    """What has to be put right, or `transient`; empty while it works."""
    problem: str
    lag: int | None
    """Records of the sagas topic that this engine has still to copy; null until it is known."""


@final
class CheckUp(msgspec.Struct, frozen=True, rename="camel"):
    """As `Health`, with the phase of every partition that this engine owns and what it holds."""

    name: str
    status: str
    version: str
    problems: tuple[str, ...]
    partitions: dict[str, str]
    sagas: int
    undelivered: int
    store: StoreState | None


@final
class StoreHealth(msgspec.Struct, frozen=True):
    """A projector without an engine."""

    name: str
    status: str
    version: str
    store: StoreState | None


class Handlers:
    """All handlers; one object per application."""

    def __init__(
        self,
        *,
        gateway: SagaGateway,
        finder: SagaFinder,
        scanner: SagaScanner,
        engine: EngineView,
        lifecycle: Lifecycle,
        store_status: Callable[[], StoreStatus | None],
        machine_definition: Mapping[str, Any],
        configuration: Mapping[str, Any],
        metrics: Callable[[], bytes],
        openapi: Mapping[str, Any],
        settings: ApiSettings,
    ) -> None:
        self._gateway = gateway
        self._finder = finder
        self._scanner = scanner
        self._engine = engine
        self._lifecycle = lifecycle
        self._store_status = store_status
        self._machine_definition = msgspec.json.encode(machine_definition)
        self._configuration = msgspec.json.encode(configuration)
        self._metrics = metrics
        self._openapi = msgspec.json.encode(openapi)
        self._settings = settings

    async def create_saga(self, request: web.Request) -> web.StreamResponse:
        """`POST /saga`."""
        self._check_open()
        key = idempotency_key(request)
        limit = self._settings.body_bytes_max
        creation = await read_body(
            request, decode_creation_body, bytes_max=limit, seconds_max=self._settings.body_seconds_max
        )
        if len(encode_creation(creation)) > limit:  # longer than the body: `1e15` is written as `1000000000000000.0`
            raise too_large(limit)
        return answer(SagaCreated(await self._gateway.create(creation, key, self._trace(request))))

    async def report_event(self, request: web.Request) -> web.StreamResponse:
        """`POST /event`."""
        self._check_open()
        limit = self._settings.body_bytes_max
        event = await read_body(
            request, decode_event_body, bytes_max=limit, seconds_max=self._settings.body_seconds_max
        )
        saga_id = check_saga_id(event.key, name="The field `key`")
        value = encode_message(event.value.message_label, event.value.message_payload or {})
        if len(value) > limit:
            raise too_large(limit)
        if self._settings.throws_on_unexpected_events:
            outcome = await self._gateway.report_and_wait(saga_id, value, self._trace(request))
            if outcome.refusal is not None:
                status = _REFUSAL_STATUS.get(outcome.refusal, HTTPStatus.CONFLICT)
                raise RefusedError(status, f"The event changed nothing: {outcome.reason}.")
        else:
            await self._gateway.report(saga_id, value, self._trace(request))
        return answer(EventTaken())

    async def read_outcome(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/internal/outcomes/{partition}/{offset}`: for other engines."""
        try:
            place = IntakePlace(int(request.match_info["partition"]), int(request.match_info["offset"]))
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "Partition and offset must be numbers.") from None
        return answer(await self._gateway.outcome(place, is_from_peer=True))

    async def read_saga(self, request: web.Request) -> web.StreamResponse:
        """`GET /sagas/{sagaId}`."""
        saga_id = check_saga_id(request.match_info["sagaId"], name="The saga's id in the path")
        is_from_peer = request.headers.get(ROUTED_HEADER) == "1"
        record = await self._gateway.read(saga_id, is_from_peer=is_from_peer)
        if record is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"There is no saga {saga_id!r}.")
        return answer(decode_saga_answer(saga_id, record))

    async def list_sagas(self, request: web.Request) -> web.StreamResponse:
        """`GET /sagas`."""
        query = parse_saga_query(request)
        try:
            page = await self._finder.find(query.wanted, limit=query.limit, cursor=query.cursor)
        except CursorError as error:
            message = f"The parameter `cursor` cannot be used: {error}. Begin again without it."
            raise RefusedError(HTTPStatus.BAD_REQUEST, message) from None
        return answer(page)

    async def scan_records(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/internal/sagas`: part of a home partition that this engine owns, for other engines."""
        try:
            asked = _decode_scan_request(request.query.get("request", "").encode())
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "The parameter `request` is no request of an engine.") from None
        return answer(await self._scanner.scan(asked, is_from_peer=True))

    async def read_record(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/internal/sagas/{sagaId}`: the record as it is, for other engines."""
        saga_id = check_saga_id(request.match_info["sagaId"], name="The saga's id in the path")
        record = await self._gateway.read(saga_id, is_from_peer=True)
        if record is None:
            return answer_error(HTTPStatus.NOT_FOUND, f"There is no saga {saga_id!r}.", {SAGA_HEADER: "unknown"})
        return answer_json(record)

    async def read_machine_definition(self, _: web.Request) -> web.StreamResponse:
        """`GET /machine-definition`."""
        return answer_json(self._machine_definition)

    async def read_configuration(self, _: web.Request) -> web.StreamResponse:
        """`GET /configuration`."""
        return answer_json(self._configuration)

    async def read_openapi(self, _: web.Request) -> web.StreamResponse:
        """`GET /openapi.json`."""
        return answer_json(self._openapi)

    async def read_health(self, _: web.Request) -> web.StreamResponse:
        """`GET /-/healthz`: a 503 gets the process started again, so a log that is away for a while is no reason."""
        ending = self._lifecycle.ending
        return self._answer_health(() if ending is None else (ending,))

    async def read_readiness(self, _: web.Request) -> web.StreamResponse:
        """`GET /-/ready`."""
        return self._answer_health(self._problems(self._engine.status()))

    async def read_check_up(self, _: web.Request) -> web.StreamResponse:
        """`GET /-/check-up`."""
        status = self._engine.status()
        problems = self._problems(status)
        body = CheckUp(
            name=self._settings.name,
            status="KO" if problems else "OK",
            version=self._settings.version,
            problems=problems,
            partitions={str(number): phase.value for number, phase in status.phases.items()},
            sagas=status.sagas,
            undelivered=status.undelivered,
            store=_store_state(self._store_status()),
        )
        return answer(body, status=_status_of(problems))

    async def read_metrics(self, _: web.Request) -> web.StreamResponse:
        """`GET /-/metrics`."""
        return web.Response(body=self._metrics(), headers={hdrs.CONTENT_TYPE: METRICS_TYPE})

    def _trace(self, request: web.Request) -> TraceContext | None:
        """The trace that the request is part of, if traces are wanted here."""
        return trace_context(request) if self._settings.is_tracing else None

    def _check_open(self) -> None:
        ending = self._lifecycle.ending
        if self._lifecycle.is_draining or ending is not None:
            message = ending or "the engine is stopping; another one will take this request"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, is_last=True)

    def _problems(self, status: Status) -> tuple[str, ...]:
        ending = self._lifecycle.ending
        if ending is not None:
            return (ending,)
        return ("the engine is stopping", *status.problems) if self._lifecycle.is_draining else status.problems

    def _answer_health(self, problems: tuple[str, ...]) -> web.Response:
        settings = self._settings
        body = Health(settings.name, "KO" if problems else "OK", settings.version, problems)
        return answer(body, status=_status_of(problems))


def build_store_health(settings: ApiSettings, status: StoreStatus) -> StoreHealth:
    """What the probes of a projector without an engine say."""
    return StoreHealth(settings.name, "OK", settings.version, _store_state(status))


def _store_state(status: StoreStatus | None) -> StoreState | None:
    if status is None:
        return None
    return StoreState(status.kind, "KO" if status.problem else "OK", status.code, status.problem, status.lag)


def _status_of(problems: tuple[str, ...]) -> int:
    return HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
