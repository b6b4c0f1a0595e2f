"""The sagas at home in one partition, kept as the bytes of their records.

Bytes, because an idle saga then costs little more than its record (`bench/memory.py`), a restore decodes next to
nothing, and a read hands out what is stored. A saga is decoded only when it moves.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import cast

from flowmachine.core.timestamps import parse_timestamp
from flowmachine.partition.key_order import KeyOrder
from flowmachine.wire.listing import SagaSummary, Scan, ScanRequest, decode_summary
from flowmachine.wire.record import decode_head, decode_saga, may_need_work


class PartitionSagas:
    """What the changelog says, by saga id (as bytes)."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self.get: Callable[[bytes], bytes | None] = self._records.get
        """The record of a saga, or None. Asked for every input: so not a method of ours."""
        self._finished: deque[tuple[int, bytes]] = deque()
        self.by_state: Counter[str] = Counter()
        self.held_by_state: Counter[str] = Counter()
        """Those of `by_state` that wait for a machine."""
        self._order: KeyOrder | None = None
        """The keys in their order, once somebody has asked for a list; until then it costs nothing."""
        self._unordered: list[bytes] = []

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: bytes) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Apply one record of the changelog."""
        head = decode_head(value) if value else None  # first: what cannot be read changes nothing
        self._forget_state(key)
        if not value or head is None:
            self._remove(key)
            return
        self._put(key, value)
        self.by_state[head.current_state] += 1
        self.held_by_state[head.current_state] += head.is_held
        if head.is_final:
            self._finished.append((parse_timestamp(head.updated_at), key))

    def apply(
        self, changed: Mapping[bytes, bytes | None], finished: Iterable[tuple[int, bytes]], expired_count: int
    ) -> None:
        """Apply what a committed batch wrote. States are counted by the caller, who has the sagas decoded."""
        for _ in range(expired_count):
            self._finished.popleft()
        if self._order is None and None not in changed.values():  # as mostly
            self._records.update(cast("Mapping[bytes, bytes]", changed))
        else:
            for key, value in changed.items():
                if value is None:
                    self._forget_state(key)
                    self._remove(key)
                else:
                    self._put(key, value)
        self._finished.extend(finished)

    def expired(self, before_ms: int, count_max: int, *, skip: int = 0) -> tuple[int, list[bytes]]:
        """How many entries of the queue of finished sagas are due, and which of these sagas may leave.

        The first `skip` entries are on their way out already.

        Not one that goes on again, nor one with an outbox or on hold: that enters the queue anew once it is
        settled.
        """
        count = 0
        keys: list[bytes] = []
        for finished_at_ms, key in islice(self._finished, skip, None):
            if finished_at_ms >= before_ms or count == count_max:
                break
            count += 1
            value = self._records.get(key)
            if value is None:
                continue
            head = decode_head(value)  # a final state may have been left again, or entered again later
            if head.is_final and parse_timestamp(head.updated_at) < before_ms and not _has_work(value):
                keys.append(key)
        return count, keys

    def has_expired(self, before_ms: int) -> bool:
        """Whether there is something for `expired`."""
        return bool(self._finished) and self._finished[0][0] < before_ms

    def needing_work(self) -> list[bytes]:
        """Sagas that may have an outbox or be held; looked up once, after a restore."""
        return [key for key, value in self._records.items() if may_need_work(value)]

    def order_some(self, count_max: int) -> bool:
        """Bring `count_max` more keys into their order; True once all are, and `scan` may be called."""
        if self._order is None:
            self._order = KeyOrder()
            self._unordered = list(self._records)  # a million pointers, some milliseconds
        for _ in range(min(count_max, len(self._unordered))):
            key = self._unordered.pop()
            if key in self._records:
                self._order.add(key)
        return not self._unordered

    def scan(self, request: ScanRequest) -> Scan:
        """The sagas that are asked for, in the order of their ids; those that move meanwhile keep their place."""
        assert self._order is not None
        assert not self._unordered
        found: list[SagaSummary] = []
        keys = self._order.after(request.after.encode(), request.scanned_max)
        for scanned, key in enumerate(keys, start=1):
            summary = decode_summary(key, self._records[key], request.wanted)
            if summary is not None:
                found.append(summary)
                if len(found) == request.limit:
                    return Scan(found, key.decode(), scanned)
        is_end = len(keys) < request.scanned_max
        return Scan(found, None if is_end else keys[-1].decode(), len(keys))

    def _put(self, key: bytes, value: bytes) -> None:
        if self._order is not None and key not in self._records:
            self._order.add(key)
        self._records[key] = value

    def _remove(self, key: bytes) -> None:
        if self._records.pop(key, None) is not None and self._order is not None:
            self._order.discard(key)

    def _forget_state(self, key: bytes) -> None:
        value = self._records.get(key)
        if value is not None:
            head = decode_head(value)
            self.by_state[head.current_state] -= 1
            self.held_by_state[head.current_state] -= head.is_held


def _has_work(value: bytes) -> bool:
    if not may_need_work(value):
        return False
    saga = decode_saga(value)
    return bool(saga.outbox or saga.held or saga.hold)
