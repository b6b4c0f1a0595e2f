"""Sagas as resources: few writes, few objects, and none that outlives its use.

- **Coalesced:** one engine writes a saga at most once per second. `write` gets the latest copy of each saga; if one of
  them was written less than a second ago it waits, and what happens meanwhile comes with the next batch, as one change.
- **Guarded:** the status is applied to exactly the version whose `seq` was looked at; if somebody was faster, both are
  looked at again.
- **Bounded:** beyond `objects_max` objects of the machine no new ones are made; sagas that have theirs go on.
- **Tended:** objects of sagas that finished some time ago are removed, by whichever engine comes first.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar, final

import msgspec

from flowmachine.adapters.kubernetes.api import (
    CONNECTIONS_MAX,
    METADATA_LIST,
    ConflictError,
    KubeApi,
    Manifest,
    RefusedObjectError,
)
from flowmachine.adapters.kubernetes.manifest import (
    API_VERSION,
    FINISHED_AT,
    FINISHED_LABEL,
    MACHINE_LABEL,
    PLURAL,
    TooLargeError,
    build_object,
    build_owner,
    build_status,
    object_name,
    read_saga,
    read_seq,
)
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import Clock, Refused, SagaCopy
from flowmachine.wire.document import UnreadableDocumentError

FIELD_MANAGER: Final = "flowmachine-engine"
WRITE_SECONDS_MIN: Final = 1.0
"""Between two writes of a saga: `kubectl get sagas -w` is for people, and etcd keeps every version for minutes."""
CONFLICTS_MAX: Final = 5
PAGE_OBJECTS: Final = 500

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger(__name__)


@final
class _Known(msgspec.Struct, frozen=True, gc=False):
    """An object as it was last seen or written."""

    seq: int
    resource_version: str
    is_finished: bool
    """Whether its label says so."""
    written_at: float = float("-inf")


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000


class KubernetesStore:
    """Fulfils `ports.SagaStore` for the sagas of one machine, in its namespace."""

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        machine: str,
        objects_max: int,
        retention_finished_ms: int,
        clock: Clock = _wall_clock,
    ) -> None:
        self._api = api
        self._machine = machine
        self._group = f"/apis/{API_VERSION}/namespaces/{namespace}"
        self._objects_max = objects_max
        self._retention_finished_ms = retention_finished_ms
        self._clock = clock
        self._owner: Manifest | None = None
        self._count = 0
        """Objects of the machine, other engines' included as of the last `tend`."""
        self._was_full = False
        self._known: dict[str, _Known] = {}

    @property
    def full(self) -> str:
        """As the port says."""
        return (
            f"there are {self._objects_max} Saga objects: that is `maxObjects`"
            if self._count >= self._objects_max
            else ""
        )

    async def write(self, copies: Sequence[SagaCopy]) -> Sequence[Refused]:
        """As the port says."""
        owner = await self._prepare()
        await self._wait_until_due(copies)
        answers = await _work(copies, lambda copy: self._write_one(copy, owner))
        return [answer for answer in answers if answer is not None]

    async def read(self, saga_ids: Sequence[str]) -> Mapping[str, Saga | Refused]:
        """As the port says."""
        found = await _work(saga_ids, self._read_one)
        return {saga_id: saga for saga_id, saga in zip(saga_ids, found, strict=True) if saga is not None}

    async def tend(self, now_ms: int) -> None:
        """As the port says."""
        over = [found for found in await self._list() if self._is_over(_finished_at(found), now_ms)]
        removed = await _work(over, self._remove)
        self._count -= sum(removed)

    async def close(self) -> None:
        """As the port says."""
        await self._api.close()

    async def _prepare(self) -> Manifest:
        """Look once for the FlowMachine that owns the objects, and for how many there are."""
        if self._owner is None:
            found = await self._api.get(f"{self._group}/flowmachines/{self._machine}")
            if found is None:
                text = f"there is no FlowMachine {self._machine!r} in the engine's namespace to own the Saga objects"
                raise ConfigurationError.of("persistence", "store-missing", text)
            await self._list()
            self._owner = build_owner(found)
        return self._owner

    async def _list(self) -> list[Manifest]:
        """The metadata of all objects of the machine; counts them."""
        objects: list[Manifest] = []
        query = {"labelSelector": f"{MACHINE_LABEL}={self._machine}", "limit": str(PAGE_OBJECTS)}
        while True:
            page = await self._api.get(f"{self._group}/{PLURAL}", query, accept=METADATA_LIST)
            if page is None:
                text = "the cluster does not know the resource Saga: apply its CustomResourceDefinition (crds/)"
                raise ConfigurationError.of("persistence", "store-missing", text)
            objects += page["items"] or []  # an empty list of metadata has null
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        self._count = len(objects)
        return objects

    async def _wait_until_due(self, copies: Sequence[SagaCopy]) -> None:
        never = float("-inf")
        names = (object_name(self._machine, copy.saga_id) for copy in copies)
        latest = max((self._known[name].written_at for name in names if name in self._known), default=never)
        await asyncio.sleep(max(0.0, latest + WRITE_SECONDS_MIN - asyncio.get_running_loop().time()))

    async def _write_one(self, copy: SagaCopy, owner: Manifest) -> Refused | None:
        name = object_name(self._machine, copy.saga_id)
        known = self._known.get(name)
        for _ in range(CONFLICTS_MAX):
            known = known or await self._look(name)
            if known is not None and known.seq >= copy.saga.seq:
                self._known[name] = known
                return None
            if known is None:
                if copy.saga.is_final and self._is_over(copy.saga.updated_at, self._clock()):
                    return None  # its time was over before it was here: a replay of what has been removed
                if why := self._look_for_room():
                    return Refused(copy.saga_id, why)
            try:
                await self._apply(name, copy, known, owner)
            except ConflictError:
                known = None
            except (TooLargeError, RefusedObjectError) as error:
                self._known.pop(name, None)
                return Refused(copy.saga_id, str(error))
            else:
                return None
        await self._list()  # raises if what there is no more is the resource itself
        raise TransientError(f"the object {name} changes all the time")

    async def _apply(self, name: str, copy: SagaCopy, known: _Known | None, owner: Manifest) -> None:
        """The object, where that is needed, then its status. The label goes first: it is what `tend` finds it by."""
        saga, path = copy.saga, f"{self._group}/{PLURAL}/{name}"
        # Before anything is made: an object whose status does not fit would stay there empty.
        status = build_status(copy.saga_id, saga, name=name, resource_version="")
        if known is None or known.is_finished is not saga.is_final:
            manifest = build_object(copy.saga_id, saga, machine=self._machine, name=name, owner=owner)
            if known is not None:
                manifest["metadata"]["resourceVersion"] = known.resource_version
            known = _see(await self._apply_object(path, manifest, is_new=known is None))
            if known.seq >= saga.seq:  # somebody was faster with all of it
                self._known[name] = known
                return
        status["metadata"]["resourceVersion"] = known.resource_version
        written = await self._api.apply(f"{path}/status", status, manager=FIELD_MANAGER)
        self._known[name] = msgspec.structs.replace(_see(written), written_at=asyncio.get_running_loop().time())

    async def _apply_object(self, path: str, manifest: Manifest, *, is_new: bool) -> Manifest:
        """A new object counts from the moment in which room was found for it: others are made at the same time."""
        self._count += is_new
        try:
            return await self._api.apply(path, manifest, manager=FIELD_MANAGER)
        except BaseException:
            self._count -= is_new
            raise

    async def _look(self, name: str) -> _Known | None:
        found = await self._api.get(f"{self._group}/{PLURAL}/{name}")
        return None if found is None else _see(found)

    async def _read_one(self, saga_id: str) -> Saga | Refused | None:
        found = await self._api.get(f"{self._group}/{PLURAL}/{object_name(self._machine, saga_id)}")
        try:
            return None if found is None else read_saga(found)
        except UnreadableDocumentError as error:
            return Refused(saga_id, str(error))

    async def _remove(self, found: Manifest) -> bool:
        metadata = found["metadata"]
        name = metadata["name"]
        self._known.pop(name, None)
        path = f"{self._group}/{PLURAL}/{name}"
        return await self._api.delete(path, uid=metadata["uid"], resource_version=metadata["resourceVersion"])

    def _is_over(self, finished_at: str | None, now_ms: int) -> bool:
        try:
            return finished_at is not None and parse_timestamp(finished_at) + self._retention_finished_ms < now_ms
        except ValueError:  # somebody has changed the annotation by hand
            return False

    def _look_for_room(self) -> str:
        """`full`, said once."""
        full = self.full
        if full and not self._was_full:
            _log.warning(
                "no more Saga objects are made until finished ones have been removed",
                extra={"objects": self._count, "objects_max": self._objects_max},
            )
        self._was_full = bool(full)
        return full


async def _work(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """What `work` returns for each, as many at a time as there are connections; ends with the first error."""
    answers: dict[int, R] = {}
    todo: Iterator[tuple[int, T]] = iter(enumerate(items))

    async def run() -> None:
        for position, item in todo:
            answers[position] = await work(item)

    workers = [asyncio.create_task(run()) for _ in range(min(CONNECTIONS_MAX, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [answers[position] for position in range(len(items))]


def _see(found: Manifest) -> _Known:
    metadata = found["metadata"]
    return _Known(read_seq(found), metadata["resourceVersion"], FINISHED_LABEL in metadata.get("labels", {}))


def _finished_at(found: Manifest) -> str | None:
    """When the saga of an object finished; None if it has not."""
    metadata = found["metadata"]
    if FINISHED_LABEL not in metadata.get("labels", {}):
        return None
    at: str | None = metadata.get("annotations", {}).get(FINISHED_AT)
    return at
