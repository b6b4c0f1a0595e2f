"""What the runtime needs from the outside, as Protocols; `flowmachine.adapters` fulfils them.

A *log* has topics with partitions, like Kafka; it is Kafka or one SQLite file. The contract that both keep is
`tests/contract/log_contract.py`:

- what `PartitionLog.commit` writes becomes visible to readers together with the offsets, or not at all;
- opening a home partition fences whoever had it open before: its later commits raise `FencedError`;
- records of one topic partition are read in the order of their offsets, each once per reader.

A *store* keeps copies of sagas where their users look for them. Its contract is `tests/contract/store_contract.py`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, final

import msgspec

from flowmachine.core.definition import PayloadText
from flowmachine.core.phases import Phase
from flowmachine.core.saga import OutboxEntry, Saga
from flowmachine.partition.plan import BatchPlan
from flowmachine.partition.tracing import Step
from flowmachine.wire.listing import SagaFilter as SagaFilter  # stores need nothing else from there
from flowmachine.wire.listing import SagaPage, Scan, ScanRequest
from flowmachine.wire.log import CommandRecords, Fetch, InputRecord, OutputRecord, SagaRecords
from flowmachine.wire.outcome import EventOutcome, IntakePlace

TopicPartition = tuple[str, int]
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@final
class Transaction(msgspec.Struct, frozen=True):
    """What becomes visible together: records, and for each input partition the first offset not yet processed.

    `sagas` go to the home partition's changelog, behind all others.
    """

    records: Sequence[OutputRecord]
    """What is neither a command nor a saga."""
    next_offsets: Mapping[TopicPartition, int]
    sagas: SagaRecords = {}
    commands: CommandRecords = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.records or self.sagas or self.next_offsets or any(self.commands.values()))


@final
class Topics(msgspec.Struct, frozen=True):
    """The topics of one machine. `home_partitions` is N: the partition count of `intake` and `sagas`."""

    intake: str
    sagas: str
    unmatched: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    home_partitions: int
    input_partitions: Mapping[str, int]
    output_partitions: Mapping[str, int]


@final
class Assignment(msgspec.Struct, frozen=True):
    """Which home partitions this engine owns, and the advertised address of every partition's owner."""

    owned: frozenset[int]
    owners: Mapping[int, str]
    input_partitions: Mapping[str, int]
    generation: int


class Source(Protocol):
    """One ordered stream of input records."""

    @property
    def topic(self) -> str:
        """The topic that it reads."""
        ...

    async def position(self) -> int:
        """The offset after everything that `fetch` has returned, transaction markers and gaps included."""
        ...

    async def lag(self) -> int:
        """How many records (on Kafka: offsets) the log is known to have from `position` on. Asks nobody for it."""
        ...

    async def fetch(self) -> Fetch:
        """Wait until there is at least one record, then return what is there.

        Raises TransientError when the log is away, ConfigurationError when a right or topic is missing.
        """
        ...


class PartitionLog(Protocol):
    """A home partition, opened: this engine alone may commit to it."""

    def restore(self, from_offset: int) -> AsyncGenerator[Sequence[InputRecord]]:
        """All records of the `sagas` partition from `from_offset` to its end at the time of the call, in batches."""
        ...

    @property
    def restored_to(self) -> int:
        """First offset of the `sagas` partition that `restore` has not read."""
        ...

    @property
    def sources(self) -> Sequence[Source]:
        """The partition's input streams, each from its committed offset on."""
        ...

    async def commit(self, transaction: Transaction) -> None:
        """Make a transaction visible, whole; an empty one may only tell what has gone wrong since the last.

        Raises FencedError (another engine has opened the partition), TransientError (unknown whether it became visible:
        open the partition again to find out).
        """
        ...

    async def close(self) -> None:
        """Let go of the partition; what was not committed is gone."""
        ...


class Log(Protocol):
    """A machine's log."""

    async def start(self) -> Topics:
        """Connect, find or create the internal topics, and return what there is.

        Raises TransientError (cannot be reached), ConfigurationError (topic missing, not authorised, ...).
        """
        ...

    def run_membership(self, address: str) -> AsyncGenerator[Assignment]:
        """Join the machine's group; yields after each rebalance. Closing the iterator leaves the group at once."""
        ...

    async def open_partition(self, partition: int) -> PartitionLog:
        """Open a home partition; whoever had it open before is fenced. Raises TransientError, ConfigurationError."""
        ...

    async def append_intake(self, records: Sequence[OutputRecord]) -> Sequence[int]:
        """Append to the `intake` topic; returns the records' offsets when they are safe. Raises TransientError."""
        ...

    async def intake_end(self, partition: int) -> int:
        """The offset after the last record of an `intake` partition, also behind a transaction that is still open."""
        ...

    async def check(self) -> None:
        """Return if the log answers. Raises TransientError."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


@final
class SagaCopy(msgspec.Struct, frozen=True, gc=False):
    """A saga as a store keeps it. `saga.seq` tells which of two copies is the later one."""

    saga_id: str
    saga: Saga


@final
class Refused(msgspec.Struct, frozen=True):
    """A copy that a store will never take (too large for it, a text that it cannot hold), and why."""

    saga_id: str
    reason: str


class SagaStore(Protocol):
    """Copies of sagas in a database, behind a service, or in Kubernetes. Connects, and prepares itself, at first use.

    Every method raises TransientError (away, slow, throttled: try again later) and ConfigurationError (credentials, a
    right, a table is missing: the codes are `store-credentials`, `store-permission`, `store-missing`, ...), which may
    also pass without a restart once somebody has put it right.
    """

    @property
    def full(self) -> str:
        """Why it takes no more sagas although it works, in a sentence; empty while it has room."""
        ...

    async def write(self, copies: Sequence[SagaCopy]) -> Sequence[Refused]:
        """Keep these copies, one per saga, each unless the store has one with the same or a higher `seq`.

        On return all are safe, other than those that are refused. After an error any part of them may be.
        """
        ...

    async def read(self, saga_ids: Sequence[str]) -> Mapping[str, Saga | Refused]:
        """What the store has of these sagas; those that it has not are absent, those that make no sense are refused."""
        ...

    async def tend(self, now_ms: int) -> None:
        """Remove what has had its time, if this store does such a thing; called about once a minute."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class SagaQueries(Protocol):
    """The side of a store that can be searched; not every store has it."""

    async def query(self, wanted: SagaFilter, *, after: str | None, limit: int) -> Sequence[SagaCopy]:
        """The first `limit` matching copies behind the saga id `after`, in the order of their ids (as UTF-8 bytes).

        The last id of a page is the cursor of the next: a saga that is there all the time is listed once, whatever
        changes in between. Raises as the methods of `SagaStore`.
        """
        ...


class SagaChanges(Protocol):
    """The `sagas` topic as the projector reads it: with offsets of a group of its own, committed records only."""

    async def start(self) -> None:
        """Join the group. Raises TransientError, ConfigurationError."""
        ...

    async def fetch(self, records_max: int, *, timeout_seconds: float) -> Sequence[InputRecord]:
        """The next records, each partition in the order of its offsets; none when none come in this time.

        Raises TransientError, ConfigurationError.
        """
        ...

    async def commit(self) -> None:
        """Have the group go on behind all that `fetch` has returned. Raises TransientError: it will be read again."""
        ...

    async def lag(self) -> int:
        """How many records (on Kafka: offsets) this member has before it. Raises TransientError."""
        ...

    async def stop(self) -> None:
        """Leave the group; what was not committed is read again."""
        ...


class CommandSender(Protocol):
    """Delivers commands of one channel over HTTP."""

    async def send(
        self,
        *,
        saga_id: str,
        label: str,
        payload: PayloadText,
        idempotency_key: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Return once the endpoint has answered 2xx. Raises TransientError with the answer otherwise.

        `headers` win over those of the channel.
        """
        ...


class PeerReader(Protocol):
    """Reads a saga from another engine."""

    async def read(self, address: str, saga_id: str) -> bytes | None:
        """The saga's record, None if the owner knows no such saga. Raises TransientError."""
        ...

    async def scan(self, address: str, request: ScanRequest) -> Scan:
        """Part of a home partition that the other engine owns. Raises TransientError."""
        ...


class SagaFinder(Protocol):
    """Lists sagas: from the engines, or from a store that can be asked."""

    async def find(self, wanted: SagaFilter, *, limit: int, cursor: str | None) -> SagaPage:
        """The next page, in an order that no saga changes its place in: at most `limit`, which is at least 1.

        `cursor` None: the first page. Raises CursorError (of another list), TransientError, ConfigurationError.
        """
        ...


class PeerOutcomes(Protocol):
    """Asks another engine what became of events that were appended to its intake partitions."""

    async def outcome(self, address: str, place: IntakePlace) -> EventOutcome:
        """Waits until the event has been handled. Raises TransientError if it does not tell."""
        ...


class Observer(Protocol):
    """Is told what happens, for metrics; must be cheap and must not raise."""

    def phase_changed(self, partition: int, phase: Phase) -> None:
        """A partition task is in another phase."""
        ...

    def committed(self, partition: int, plan: BatchPlan, seconds: float, at_ms: int) -> None:
        """A batch has become visible, after so many seconds of transaction, at this time of the engine's clock."""
        ...

    def transaction_failed(self, partition: int, code: str) -> None:
        """A partition task stopped with an error of this code."""
        ...

    def restored(self, partition: int, records: int, seconds: float) -> None:
        """A partition has been restored."""
        ...

    def sagas_counted(self, partition: int, by_state: Mapping[str, int], held_by_state: Mapping[str, int]) -> None:
        """A partition has so many sagas in each state, and so many of these wait."""
        ...

    def lagged(self, partition: int, records: int) -> None:
        """A partition has so many records of its inputs before it that are not committed."""
        ...

    def outbox_counted(self, commands: Mapping[tuple[str, str], int]) -> None:
        """Commands over HTTP without a 2xx, by channel and by what they wait for: `answer`, `person`. It is live."""
        ...

    def command_sent(self, channel: str, outcome: str) -> None:
        """An attempt over HTTP ended: delivered, retried, failed or dropped."""
        ...


class DeliverySpan(Protocol):
    """An attempt to deliver a command over HTTP, as its saga's trace shows it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the request carries, so that whoever answers it is part of the trace."""
        ...

    def end(self, failure: str | None) -> None:
        """The attempt is over; `failure` says why it was none, in one sentence."""
        ...


class Tracer(Protocol):
    """Takes spans; must be cheap and must not raise. What it loses is gone, and nobody waits for it."""

    def is_sampled(self, trace_id: str) -> bool:
        """Whether a trace that begins here is to be kept; always the same answer for the same id."""
        ...

    def committed(self, steps: Sequence[Step], at_ms: int) -> None:
        """These became visible at this time of the engine's clock."""
        ...

    def start_delivery(self, saga_id: str, entry: OutboxEntry, attempt: int) -> DeliverySpan:
        """An attempt to deliver a command begins."""
        ...


class StoreObserver(Protocol):
    """Is told how the store does, for metrics; must be cheap and must not raise."""

    def projected(self, written: int, refused: int, seconds: float) -> None:
        """A batch is in the store, after so many seconds; `refused` of its sagas are not."""
        ...

    def store_worked(self, kind: str) -> None:
        """The store did what it was asked."""
        ...

    def store_failed(self, kind: str, code: str) -> None:
        """The store did not do what it was asked."""
        ...

    def projection_lagged(self, records: int) -> None:
        """The projector has so many records before it."""
        ...


class Clock(Protocol):
    """Wall clock, in milliseconds since 1970."""

    def __call__(self) -> int:
        """Now."""
        ...
