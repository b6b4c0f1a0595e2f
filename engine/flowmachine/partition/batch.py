"""A batch, being planned: it sees the partition's sagas plus its own changes.

A saga that moves several times in a batch is written once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast, final

import msgspec

from flowmachine.core.actions import CHANGING, ENTERING, Decision, Outcome
from flowmachine.core.adopt import build_awaited
from flowmachine.core.decide import can_resume, decide
from flowmachine.core.definition import ChannelId, Machine, SagaId, StateId
from flowmachine.core.inputs import Create, EventReceived, Input, Loaded, Resumed
from flowmachine.core.partitioners import home
from flowmachine.core.saga import Hold, OutboxEntry, Saga, drop_oldest_held, is_awaited
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.partition.plan import BatchPlan, FailedHook, Unmatched
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.partition.settings import PartitionSettings
from flowmachine.partition.tracing import Sampler, Step, find_place, make_steps
from flowmachine.wire.intake import CREATE, INPUT_HEADER, ORIGIN_HEADER, decode_creation, is_reread
from flowmachine.wire.log import CommandRow, Headers, InputRecord, OutputRecord, Place, StoredRecord
from flowmachine.wire.message import MalformedError, command_headers, decode_message, encode_command, encode_message
from flowmachine.wire.record import decode_known_saga, decode_saga, encode_saga, encode_saga_into
from flowmachine.wire.trace import decode_trace_context, encode_trace_context, trace_headers
from flowmachine.wire.unmatched import encode_unmatched, format_origin

EXPIRED_PER_BATCH_MAX = 500
"""Tombstones that ride along with one batch: enough to keep up with any load, too few to delay one."""

_ADVANCED: Final = Outcome.ADVANCED
_decode_id = cast("Callable[[bytes], SagaId]", bytes.decode)
_NAME_LENGTH_MAX, _REASON_LENGTH_MAX = 200, 1000
"""What is noted of a refused input goes to the log, and its length is the sender's: it is cut."""


CommandPlaces = Mapping[ChannelId, Sequence[Place]]
"""Channel id to where its commands go."""


@final
class Batch:
    """The work of one `Partition.plan()`; hot: a record costs a few microseconds here (`docs/performance.md`).

    Each decision is encoded at once, while what it made is still in the processor's cache. A saga that moves again in
    the same batch is decoded again, which is rare.
    """

    def __init__(
        self,
        machine: Machine,
        settings: PartitionSettings,
        sagas: PartitionSagas,
        command_places: CommandPlaces,
        sampler: Sampler | None,
        after: BatchPlan | None,
    ) -> None:
        """`after`: a plan that is being committed, and whose changes count as made."""
        self.machine = machine
        self.settings = settings
        self.stored = sagas
        self.sampler = sampler
        self.pending: Mapping[bytes, bytes | None] = after.changed if after is not None else {}
        self.pending_expired = after.expired_count if after is not None else 0
        self.records: list[OutputRecord] = []
        self.commands: dict[Place, list[CommandRow]] = {
            place: [] for places in command_places.values() for place in places
        }
        self.command_rows = {
            channel: [self.commands[place] for place in places] for channel, places in command_places.items()
        }
        """Those lists by the channels whose commands they take."""
        self.next_offsets: dict[tuple[str, int], int] = {}
        self.changed: dict[bytes, bytes | None] = {}
        self.advanced: defaultdict[tuple[StateId, str], int] = defaultdict(int)
        """How often an event (second) has moved a saga out of a state (first)."""
        self.steps: defaultdict[tuple[Outcome, str | None, str, str], int] = defaultdict(int)
        """How often: outcome, state before (None: a new saga), state after, latest event."""
        self.outcomes: Counter[Outcome] = Counter()
        self.unmatched: list[Unmatched] = []
        self.failed_hooks: list[FailedHook] = []
        self.state_changes: Counter[str] = Counter()
        self.held_changes: Counter[str] = Counter()
        self.finished: list[tuple[int, bytes]] = []
        self.outboxes: dict[str, tuple[OutboxEntry, ...]] = {}
        self.resumable: dict[str, None] = {}
        self.awaited: dict[str, None] = {}
        self.moved_at_ms: list[int] = []
        self.traced: list[Step] = []
        self.forwarded = 0
        self.buffer = bytearray()
        """For `encode_saga_into`."""
        self.size = 0
        """Bytes that it will write."""

    def to_plan(self, now_ms: int, *, records_taken: int, internal_taken: int) -> BatchPlan:
        """The plan, with sagas that finished long ago taken out."""
        expired_count = self._expire(now_ms)
        entered = self._count_steps()
        return BatchPlan(
            records=self.records,
            commands=self.commands,
            next_offsets=self.next_offsets,
            records_taken=records_taken,
            internal_taken=internal_taken,
            changed=self.changed,
            state_changes=self.state_changes,
            held_changes=self.held_changes,
            finished=self.finished,
            outboxes=self.outboxes,
            entered=entered,
            outcomes=self.outcomes,
            unmatched=self.unmatched,
            failed_hooks=self.failed_hooks,
            forwarded=self.forwarded,
            expired_count=expired_count,
            resumable=list(self.resumable),
            awaited=list(self.awaited),
            moved_at_ms=self.moved_at_ms,
            traced=self.traced,
        )

    def take_inputs(self, inputs: Iterable[Input]) -> int:
        """Decide inputs from inside the engine until the batch is large enough; returns how many."""
        count = 0
        for received in inputs:
            if self.size >= self.settings.batch_bytes_max:
                break
            self.take_internal(received)
            count += 1
        return count

    def take_records(self, records: Iterable[InputRecord]) -> int:  # noqa: C901 - calls are what it is to save
        """Decide records of the log in their order until the batch is large enough; returns how many.

        Asks for no further one. Nearly every record is an event that moves a saga which waits for nothing: those are
        decided here, by the steps of `take_record` without a call for each: a twentieth of an engine's time is saved.
        What turns out to be anything else begins anew there: `decide` is pure, and nothing has been noted by then.
        """
        machine, settings, buffer = self.machine, self.settings, self.buffer
        changed, pending, find = self.changed, self.pending, self.stored.get
        advanced, command_rows, moved_at_ms = self.advanced, self.command_rows, self.moved_at_ms
        next_offsets = self.next_offsets
        intake, record_bytes_max, bytes_max = settings.intake_topic, settings.record_bytes_max, settings.batch_bytes_max
        is_plain = self.sampler is None and not settings.has_command_ids
        count = 0
        for record in records if self.size < bytes_max else ():
            count += 1
            key, value, topic = record.key, record.value, record.topic
            next_offsets[topic, record.partition] = record.offset + 1
            has_moved = False
            known = None if topic == intake or key in changed or key in pending or not key else find(key)
            if known is not None and key and value and is_plain:
                try:
                    before, message = decode_known_saga(known), decode_message(value)
                    saga_id = _decode_id(key)
                except (MalformedError, msgspec.MsgspecError, UnicodeDecodeError):
                    pass
                else:
                    received = EventReceived(saga_id, message.message_label, message.message_payload, record.timestamp)
                    decision = decide(machine, before, received)
                    saga = decision.saga
                    is_waiting = before.held or before.hold
                    if saga and decision.outcome is _ADVANCED and not (is_waiting or saga.outbox or decision.failures):
                        encode_saga_into(saga, buffer)
                        text = bytes(buffer)
                        size = len(text)
                        for command in decision.commands:
                            payload = command.payload
                            command_text = encode_command(command.label, saga.metadata if payload is None else payload)
                            for rows in command_rows[command.channel]:
                                rows.append((key, command_text, ()))
                                size += len(command_text)
                        if len(key) + max(size, len(value)) > record_bytes_max:
                            self._take_back(decision)
                        else:
                            has_moved = True
                            self.size += size
                            advanced[before.current_state, message.message_label] += 1
                            changed[key] = text
                            moved_at_ms.append(record.timestamp)
                            if saga.is_final:
                                self.finished.append((parse_timestamp(saga.updated_at), key))
            if not has_moved:
                self.take_record(record)
            if self.size >= bytes_max:
                break
        return count

    def take_record(self, record: InputRecord) -> None:
        """Decide a record of the log."""
        key, settings, topic = record.key, self.settings, record.topic
        if not key:
            if topic == settings.intake_topic and is_reread(record):
                return
            self._refuse(record, Outcome.MALFORMED, "the record has no key; the key must be the saga id")
            return
        if len(key) + len(record.value or b"") > settings.record_bytes_max:
            self._refuse(record, Outcome.TOO_LARGE, f"more than {settings.record_bytes_max} bytes")
            return
        saga = self._load(key)
        is_intake = topic == settings.intake_topic
        if saga is None:
            if not is_intake and (partition := home(key, settings.home_partitions)) != settings.partition:
                self._forward(record, partition)
                return
        elif saga.held or saga.hold:  # before anything is said about the record: order is kept
            saga = self._resume(key, saga, record.timestamp)
        try:
            received = _decode_input(record, key, is_intake=is_intake)
        except MalformedError as error:
            self._refuse(record, Outcome.MALFORMED, str(error))
            return
        decision = self._take(key, saga, received, record)
        if decision.outcome in ENTERING:
            self.moved_at_ms.append(record.timestamp)
        else:
            self._conclude(record, received, decision)

    def _conclude(self, record: InputRecord, received: Input, decision: Decision) -> None:
        """Keep and note a record that has changed nothing."""
        if decision.outcome in CHANGING:
            return
        if decision.outcome is Outcome.DUPLICATE:
            self._note(record, decision.outcome, decision.reason, received)  # normal where delivery is at least once
        else:
            self._refuse(record, decision.outcome, decision.reason, received)

    def take_internal(self, received: Input) -> None:
        """Decide an input from inside the engine."""
        key = received.saga_id.encode()
        saga = self._load(key)
        decision = self._take(key, saga, received)
        if decision.outcome is Outcome.TOO_LARGE:
            decision = self._without_room(key, saga, received, decision)
        if decision.outcome in CHANGING:
            if type(received) is Loaded:
                self._resume(key, decision.saga, received.received_at_ms)
            return
        self.outcomes[decision.outcome] += 1
        if type(received) is Loaded and saga is not None and decision.outcome is not Outcome.DUPLICATE:
            self._give_up(key, saga, decision)
        elif saga is not None and decision.saga is not None and decision.saga is not saga:
            self._drop_held(key, saga, decision.saga, decision)

    def _resume(self, key: bytes, saga: Saga | None, at_ms: int) -> Saga | None:
        """Let a held saga go on, if it may: a new input must not overtake what it holds."""
        while saga is not None and can_resume(self.machine, saga):
            self.take_internal(Resumed(SagaId(key.decode()), at_ms))
            saga = self._load(key)
        return saga

    def _load(self, key: bytes) -> Saga | None:
        if key in self.changed:
            value = self.changed[key]
        else:
            value = self.pending[key] if key in self.pending else self.stored.get(key)
        return decode_saga(value) if value is not None else None

    def _take(self, key: bytes, saga: Saga | None, received: Input, record: InputRecord | None = None) -> Decision:
        """Decide an input and take over what it changes. What would make too large a record changes nothing."""
        known = saga
        if saga is None and self.settings.is_read_through and type(received) is EventReceived:
            known = build_awaited(received)
        decision = decide(self.machine, known, received)
        for failure in decision.failures:
            state = decision.saga.current_state if decision.saga is not None else ""
            self.failed_hooks.append(FailedHook(received.saga_id[:_NAME_LENGTH_MAX], state, failure))
        if self.sampler is None:
            return self._apply(key, saga, decision)
        place = find_place(self.sampler, received, record, saga, decision)
        applied = self._apply(key, saga, decision, encode_trace_context(place.context))
        if applied is not decision:  # the saga's next change will have the place that this one had
            place = find_place(self.sampler, received, record, saga, applied)
        self.traced += make_steps(place, received, record, saga, applied)
        return applied

    def _without_room(self, key: bytes, saga: Saga | None, received: Input, refused: Decision) -> Decision:
        """What becomes of an input from inside the engine whose result would make a record that is too large."""
        if saga is None or type(received) is not Resumed:
            return refused
        if saga.hold is None or saga.hold.command is None:
            return msgspec.structs.replace(refused, saga=drop_oldest_held(saga))
        # The command of a held saga has been made, and cannot be sent.
        hold = Hold(refused.reason, self.machine.revision, saga.hold.command)
        kept = msgspec.structs.replace(saga, seq=saga.seq + 1, hold=hold)
        held = Decision(Outcome.HELD, kept, reason=refused.reason)
        return held if self._apply(key, saga, held) is held else refused

    def _apply(self, key: bytes, before: Saga | None, decision: Decision, trace: Headers = ()) -> Decision:
        """Take over what a decision changes; returns it, or that its records would be too large."""
        saga = decision.saga
        if saga is None or decision.outcome not in CHANGING:
            return decision
        encode_saga_into(saga, self.buffer)
        value = bytes(self.buffer)
        size, headers, number = len(value), trace, 0
        for command in decision.commands:
            payload = command.payload
            text = encode_command(command.label, saga.metadata if payload is None else payload)
            if self.settings.has_command_ids:
                headers = (*trace, *command_headers(key, saga.seq, number))
                number += 1
            for rows in self.command_rows[command.channel]:
                rows.append((key, text, headers))
                size += len(text)
        if len(key) + size > self.settings.record_bytes_max:  # all together; now each of them
            largest = len(key) + max(len(value), _largest_command(decision))
            if largest > self.settings.record_bytes_max:
                self._take_back(decision)
                reason = f"it would make a record of {largest} bytes; at most {self.settings.record_bytes_max} fit"
                return Decision(Outcome.TOO_LARGE, before, reason=reason)
        self.size += size
        was_in = None if before is None else before.current_state
        self.steps[decision.outcome, was_in, saga.current_state, saga.latest_event] += 1
        self._put(key, before, saga, value)
        return decision

    def _take_back(self, decision: Decision) -> None:
        for command in decision.commands:
            for rows in self.command_rows[command.channel]:
                rows.pop()

    def _put(self, key: bytes, before: Saga | None, saga: Saga, value: bytes) -> None:
        """Note a changed saga, and what its change means for memory."""
        was = before
        if was is None:
            was = saga
            if key in self.changed:  # an awaited saga that was given up in this batch comes again
                self.state_changes[""] -= 1
        self.changed[key] = value
        if saga.held or saga.hold or was.held or was.hold or self.awaited:
            self._put_held(key, before, saga)
        if saga.outbox or was.outbox:
            self.outboxes[key.decode()] = saga.outbox
        if saga.is_final:
            self.finished.append((parse_timestamp(saga.updated_at), key))

    def _count_steps(self) -> Counter[tuple[str, str]]:
        """Add up what the steps mean for the counters; returns how often a state was entered by an event."""
        entered: Counter[tuple[str, str]] = Counter()
        for (left, event), count in self.advanced.items():
            target = self.machine.states[left].transitions[event].target_state
            self.steps[_ADVANCED, left, target, event] += count
        for (outcome, before, state, event), count in self.steps.items():
            self.outcomes[outcome] += count
            self.state_changes[state] += count
            if before is not None:
                self.state_changes[before] -= count
            if outcome in ENTERING:
                entered[(state, event)] += count
        return entered

    def _put_held(self, key: bytes, before: Saga | None, saga: Saga) -> None:
        """Note a saga that waits for something, or may have done so."""
        saga_id = key.decode()
        if before is not None:
            self.held_changes[before.current_state] -= _is_held(before)
        self.held_changes[saga.current_state] += _is_held(saga)
        _set(self.resumable, saga_id, is_in=can_resume(self.machine, saga))
        _set(self.awaited, saga_id, is_in=is_awaited(saga))

    def _forward(self, record: InputRecord, partition: int) -> None:
        headers = (*trace_headers(record.headers), (ORIGIN_HEADER, format_origin(record).encode()))
        self._append(
            OutputRecord(self.settings.intake_topic, record.key, record.value, partition, headers, record.timestamp)
        )
        self.forwarded += 1

    def _refuse(self, record: InputRecord, outcome: Outcome, reason: str, received: Input | None = None) -> None:
        self._note(record, outcome, reason, received)
        self._keep(record, outcome, reason)

    def _keep(self, record: InputRecord, outcome: Outcome, reason: str) -> None:
        settings = self.settings
        self._append(
            encode_unmatched(
                record,
                outcome,
                reason,
                topic=settings.unmatched_topic,
                partition=settings.partition,
                record_bytes_max=settings.record_bytes_max,
            )
        )

    def _append(self, record: OutputRecord) -> None:
        self.records.append(record)
        self.size += len(record.value or b"")

    def _give_up(self, key: bytes, saga: Saga, decision: Decision) -> None:
        """The store has no such saga, or one that no record can hold: its events are kept as unmatched."""
        while saga.held:
            freed = drop_oldest_held(saga)
            self._drop_held(key, saga, freed, decision)
            saga = freed
        self.awaited.pop(key.decode(), None)
        self.changed[key] = None

    def _drop_held(self, key: bytes, saga: Saga, freed: Saga, decision: Decision) -> None:
        """A held event turned out to change nothing: it leaves the saga and is kept like any other such input."""
        event = saga.held[0]
        self._put(key, saga, freed, encode_saga(freed))
        record = StoredRecord(
            topic=self.settings.sagas_topic,
            partition=self.settings.partition,
            offset=saga.seq,
            timestamp=event.received_at_ms,
            key=key,
            value=encode_message(event.label, event.payload),
        )
        self._keep(record, decision.outcome, f"held before: {decision.reason}")
        self._note_unmatched(record, decision.outcome, decision.reason, event.label)

    def _note(self, record: InputRecord, outcome: Outcome, reason: str, received: Input | None) -> None:
        label = received.label if type(received) is EventReceived else ""
        self.outcomes[outcome] += 1
        self._note_unmatched(record, outcome, reason, label)

    def _note_unmatched(self, record: InputRecord, outcome: Outcome, reason: str, label: str) -> None:
        saga_id = (record.key or b"")[:_NAME_LENGTH_MAX].decode("utf-8", "replace")
        reason, label = reason[:_REASON_LENGTH_MAX], label[:_NAME_LENGTH_MAX]
        self.unmatched.append(Unmatched(outcome, reason, format_origin(record), saga_id, label))

    def _expire(self, now_ms: int) -> int:
        before_ms = now_ms - self.settings.retention_finished_ms
        count, expired = self.stored.expired(before_ms, EXPIRED_PER_BATCH_MAX, skip=self.pending_expired)
        for key in expired:
            if key not in self.changed and key not in self.pending:
                self.changed[key] = None
        return count


def _largest_command(decision: Decision) -> int:
    """The bytes of its value."""
    texts = [encode_command(each.label, decision.payload_of(each)) for each in decision.commands]
    return max(map(len, texts), default=0)


def _is_held(saga: Saga) -> bool:
    return bool(saga.held or saga.hold)


def _set(ordered: dict[str, None], saga_id: str, *, is_in: bool) -> None:
    """Put a saga at the end of an ordered set, or take it out."""
    ordered.pop(saga_id, None)
    if is_in:
        ordered[saga_id] = None


def _decode_input(record: InputRecord, key: bytes, *, is_intake: bool) -> Input:
    try:
        saga_id = _decode_id(key)
    except UnicodeDecodeError:
        raise MalformedError("the key is not UTF-8; the key must be the saga id") from None
    if is_intake and (INPUT_HEADER, CREATE) in record.headers:
        creation = decode_creation(record.value)
        trace = decode_trace_context(record.headers) if len(record.headers) > 1 else None
        return Create(saga_id, creation.associated_entity_id, creation.metadata, record.timestamp, trace)
    message = decode_message(record.value)
    return EventReceived(saga_id, message.message_label, message.message_payload, record.timestamp)
