"""A gateway and an engine in memory, and an application around them, for tests of the HTTP API."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp.test_utils import TestClient, TestServer

from flowmachine.api.server import ApiSettings, BearerTokens, Lifecycle, build_application
from flowmachine.core.payload import encode_payload
from flowmachine.core.phases import Phase
from flowmachine.core.saga import EMPTY_HISTORY, HeldEvent, OutboxEntry, Saga
from flowmachine.core.trace import TraceContext
from flowmachine.errors import FlowMachineError
from flowmachine.runtime.engine import Status
from flowmachine.wire.intake import Creation
from flowmachine.wire.listing import CursorError, SagaFilter, SagaPage, Scan, ScanRequest
from flowmachine.wire.outcome import TAKEN, EventOutcome, IntakePlace
from flowmachine.wire.record import encode_saga

READY = Status(problems=(), phases={0: Phase.RUNNING, 1: Phase.RUNNING}, sagas=3, undelivered=1)


class InMemoryGateway:
    """Keeps what it is told. `error` makes every call raise."""

    def __init__(self) -> None:
        self.created: dict[str, Creation] = {}
        self.reported: list[tuple[str, bytes]] = []
        self.traces: list[TraceContext | None] = []
        self.records: dict[str, bytes] = {}
        self.reads: list[tuple[str, bool]] = []
        self.event_outcome = TAKEN
        self.outcomes_asked: list[tuple[IntakePlace, bool]] = []
        self.error: Exception | None = None
        self._by_key: dict[str, str] = {}

    async def create(self, creation: Creation, idempotency_key: str | None, trace: TraceContext | None = None) -> str:
        self._raise_error()
        self.traces.append(trace)
        saga_id = f"order-{len(self.created) + 1}"
        if idempotency_key is not None:
            saga_id = self._by_key.setdefault(idempotency_key, saga_id)
        self.created.setdefault(saga_id, creation)
        return saga_id

    async def report(self, saga_id: str, value: bytes, trace: TraceContext | None = None) -> None:
        self._raise_error()
        self.traces.append(trace)
        self.reported.append((saga_id, value))

    async def report_and_wait(self, saga_id: str, value: bytes, trace: TraceContext | None = None) -> EventOutcome:
        await self.report(saga_id, value, trace)
        return self.event_outcome

    async def outcome(self, place: IntakePlace, *, is_from_peer: bool = False) -> EventOutcome:
        self._raise_error()
        self.outcomes_asked.append((place, is_from_peer))
        return self.event_outcome

    async def read(self, saga_id: str, *, is_from_peer: bool = False) -> bytes | None:
        self.reads.append((saga_id, is_from_peer))
        self._raise_error()
        return self.records.get(saga_id)

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error


class InMemoryLists:
    """Answers each list with `page`, each scan with `part`, and remembers what was asked. `error` makes calls raise."""

    def __init__(self) -> None:
        self.page = SagaPage([], None)
        self.part = Scan([], None, 0)
        self.asked: list[tuple[SagaFilter, int, str | None]] = []
        self.scans: list[tuple[ScanRequest, bool]] = []
        self.error: Exception | None = None

    async def find(self, wanted: SagaFilter, *, limit: int, cursor: str | None) -> SagaPage:
        if self.error is not None:
            raise self.error
        if cursor == "of another list":
            raise CursorError("this cursor does not come from this list")
        self.asked.append((wanted, limit, cursor))
        return self.page

    async def scan(self, request: ScanRequest, *, is_from_peer: bool = False) -> Scan:
        self.scans.append((request, is_from_peer))
        return self.part


class SettableEngine:
    """An engine whose status is what the test says."""

    def __init__(self) -> None:
        self.now = READY

    def status(self) -> Status:
        return self.now

    def trouble(self, error: FlowMachineError | str) -> None:
        self.now = with_problem(self.now, str(error))


def with_problem(status: Status, problem: str) -> Status:
    """The same status with a problem."""
    return Status((problem,), status.phases, status.sagas, status.undelivered)


@dataclass
class Api:
    """A running application with everything it stands on."""

    client: TestClient
    gateway: InMemoryGateway
    lists: InMemoryLists
    engine: SettableEngine
    lifecycle: Lifecycle


@dataclass
class ApiSetup:
    """What an application is made of; a test changes what it is about."""

    gateway: InMemoryGateway = field(default_factory=InMemoryGateway)
    lists: InMemoryLists = field(default_factory=InMemoryLists)
    engine: SettableEngine = field(default_factory=SettableEngine)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    tokens: BearerTokens = field(default_factory=BearerTokens)
    settings: ApiSettings = field(default_factory=lambda: ApiSettings(name="orders", version="1.2.3"))

    def application(self):
        return build_application(
            self.gateway,
            self.lists,
            self.lists,
            self.engine,
            {"initialState": "CREATED"},
            {"channels": [{"id": "orders", "kafka": {"sasl": {"password": "**********"}}}]},
            lambda: b"# HELP up\n",
            self.settings,
            lifecycle=self.lifecycle,
            tokens=self.tokens,
        )


@asynccontextmanager
async def running_api(setup: ApiSetup | None = None) -> AsyncGenerator[Api]:
    """The application on a free port of this machine."""
    setup = setup or ApiSetup()
    async with TestClient(TestServer(setup.application())) as client:
        yield Api(client, setup.gateway, setup.lists, setup.engine, setup.lifecycle)


def order_record(**changes: object) -> bytes:
    """The record of an order whose payment has been executed."""
    history = msgspec.structs.replace(
        EMPTY_HISTORY,
        states=msgspec.Raw(b'[{"state":"CREATED","timestamp":"2026-01-01T00:00:00.000Z"}]'),
        events=msgspec.Raw(b'[{"event":"__created__","timestamp":"2026-01-01T00:00:00.000Z"}]'),
    )
    saga = Saga(
        v=1,
        seq=2,
        revision="abc",
        current_state="PAID",
        latest_event="paymentExecuted",
        business_state_id=1,
        business_state_description="Payment",
        associated_entity_id="order 7",
        created_at="2026-01-01T00:00:00.000Z",
        updated_at="2026-01-01T00:00:01.000Z",
        metadata={"total": 12.5, "items": ["ümlaut"]},
        history=history,
    )
    return encode_saga(msgspec.structs.replace(saga, **changes))


PENDING = (
    OutboxEntry("2", "kitchen", "prepareOrder", encode_payload({"secret": "in the payload"})),
    OutboxEntry(
        "2.1",
        "mail",
        "tellCustomer",
        encode_payload({}),
        is_side_command=True,
        failure="POST http://mail/ answered 500",
    ),
)
HELD = (HeldEvent("orderPrepared", {"by": "cook"}, 1_767_225_600_000),)
