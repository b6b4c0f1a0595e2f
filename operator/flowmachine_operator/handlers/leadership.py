"""The Lease: one of several operators acts, another takes over when it ends or falls silent.

    waiting ──(nobody's, or silent for its duration)──► holding ──(not renewed in time)──► NotLeaderError: all ends
                                                           └──(asked to stop)──► released: another takes it at once

`kubernetes.aio` has an election, too; it does not give the Lease back, ends at the first network error, and cannot tell
whether the Lease is still held, which every write asks here (`is_held`): an operator that was stopped for a minute and
wakes up again finds out before it writes.
"""

import logging
import time
from asyncio import Event
from datetime import UTC, datetime

from flowmachine.config.documents import as_object
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError, NotLeaderError
from flowmachine_operator.kinds import LEASE
from flowmachine_operator.kube_api import KubeApi, pause
from flowmachine_operator.plan.lease import LeaseDecision, SeenLease, plan_lease
from flowmachine_operator.settings import Settings

_log = logging.getLogger(__name__)


class Leadership:
    """The Lease as one operator sees it."""

    def __init__(self, api: KubeApi, settings: Settings, identity: str) -> None:
        self._api = api
        self._identity = identity
        self._namespace = settings.namespace
        self._name = settings.lease_name
        self._duration_seconds = settings.lease_seconds
        self._retry_seconds = settings.lease_seconds / 6
        # A third of the Lease's time lies between our last write and the other's first.
        self._renew_seconds_max = settings.lease_seconds * 2 / 3
        self._seen: SeenLease | None = None
        self._lease: Manifest | None = None
        self._renewed_seconds: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether this operator may write now."""
        renewed = self._renewed_seconds
        return renewed is not None and time.monotonic() - renewed < self._renew_seconds_max

    def assert_held(self) -> None:
        """Raise NotLeaderError unless this operator may write now."""
        if not self.is_held:
            raise NotLeaderError("the Lease is not held any more")

    async def run_until_held(self, stopping: Event) -> None:
        """Wait for the Lease; returns also when the operator is asked to stop."""
        _log.info("waiting for the Lease", extra={"lease": f"{self._namespace}/{self._name}"})
        while not stopping.is_set():
            if await self._try():
                _log.info("this operator acts", extra={"identity": self._identity})
                return
            await pause(self._retry_seconds, stopping)

    async def run_renewals(self, stopping: Event) -> None:
        """Keep the Lease until asked to stop. Raises NotLeaderError once it cannot be renewed in time."""
        while not await pause(self._retry_seconds, stopping):
            await self._try()
            self.assert_held()

    async def release(self) -> None:
        """Let another operator have it at once."""
        if not self.is_held or self._lease is None:
            return
        self._renewed_seconds = None
        try:
            await self._write(self._lease, holder="")
        except (ApiRefusedError, ApiUnavailableError) as error:
            _log.warning("the Lease was not given back; it runs out by itself", extra={"reason": str(error)})

    async def _try(self) -> bool:
        """Look, and write if it is ours to write; tells whether the Lease is held now."""
        asked_seconds = time.monotonic()
        try:
            self._lease = await self._api.get(LEASE.path(self._namespace, self._name))
            self._see()
            decision = plan_lease(self._seen, identity=self._identity, now_seconds=time.monotonic())
            if decision is LeaseDecision.WAIT:
                self._renewed_seconds = None
                return False
            self._lease = await self._write(self._lease or {}, holder=self._identity)
        except (ApiRefusedError, ApiUnavailableError) as error:
            _log.warning("the Lease could not be renewed or taken", extra={"reason": str(error)})
            return False
        self._see()
        self._renewed_seconds = asked_seconds  # others count from the write, which came later
        return True

    def _see(self) -> None:
        if self._lease is None:
            self._seen = None
            return
        version = str(as_object(self._lease["metadata"]).get("resourceVersion"))
        if self._seen is None or self._seen.resource_version != version:
            spec = as_object(self._lease.get("spec"))
            duration = int(str(spec.get("leaseDurationSeconds") or self._duration_seconds))
            self._seen = SeenLease(str(spec.get("holderIdentity") or ""), version, duration, time.monotonic())

    async def _write(self, lease: Manifest, *, holder: str) -> Manifest:
        spec = as_object(lease.get("spec"))
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        is_new_holder = spec.get("holderIdentity") != holder
        changed: Manifest = {
            **spec,
            "holderIdentity": holder,
            "leaseDurationSeconds": self._duration_seconds,
            "renewTime": now,
            "acquireTime": now if is_new_holder else spec.get("acquireTime"),
            "leaseTransitions": int(str(spec.get("leaseTransitions") or 0)) + (1 if is_new_holder and holder else 0),
        }
        if not lease:
            manifest: Manifest = {
                "apiVersion": LEASE.api_version,
                "kind": LEASE.kind,
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": changed,
            }
            return await self._api.create(LEASE.path(self._namespace), manifest)
        return await self._api.replace(LEASE.path(self._namespace, self._name), {**lease, "spec": changed})
