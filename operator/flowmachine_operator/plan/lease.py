"""Who acts: the decision of one operator that looks at the Lease.

Clocks of two machines differ, so a holder is never judged by the times that stand in the Lease, only by how long its
record has not changed before our own eyes.

| the Lease                                        | decision |
|--------------------------------------------------|----------|
| does not exist                                   | CREATE   |
| is ours                                          | RENEW    |
| is nobody's, or has not changed for its duration | TAKE     |
| else                                             | WAIT     |
"""

from dataclasses import dataclass
from enum import Enum


class LeaseDecision(Enum):
    """What to do now."""

    CREATE = "create"
    RENEW = "renew"
    TAKE = "take"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A Lease, and since when it looks like this."""

    holder: str
    resource_version: str
    duration_seconds: int
    seen_seconds: float
    """The local, monotonic time at which this version was first seen."""


def plan_lease(lease: SeenLease | None, *, identity: str, now_seconds: float) -> LeaseDecision:
    """The decision; `now_seconds` is of the same clock as `seen_seconds`."""
    if lease is None:
        return LeaseDecision.CREATE
    if lease.holder == identity:
        return LeaseDecision.RENEW
    if not lease.holder or now_seconds - lease.seen_seconds >= lease.duration_seconds:
        return LeaseDecision.TAKE
    return LeaseDecision.WAIT
