"""The life of a partition on one engine, as a table.

    assigned ──► fencing ──► restoring ──► running ──► draining ──► released
                    │            │            │
                    └────────────┴──► failed ◄┘   failed ──► fencing (after a pause), or released

A running partition goes back to `fencing` when the log has other credentials: it is opened again with them.

`failed` is any error of the log, being fenced included: the transaction is dropped, the producer is discarded, and the
task starts again from the last commit, unless the group has given the partition to another engine meanwhile
(`docs/decisions/0003-fenced-is-not-lost.md`).
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where a partition task is; the values are what people see in `/-/check-up` and in metrics."""

    ASSIGNED = "assigned"
    FENCING = "fencing"
    RESTORING = "restoring"
    RUNNING = "running"
    DRAINING = "draining"
    FAILED = "failed"
    RELEASED = "released"


class Signal(StrEnum):
    """What happens to a partition task."""

    START = "start"
    OPENED = "opened"
    RESTORED = "restored"
    ERROR = "error"
    STOP = "stop"
    STOPPED = "stopped"


_TABLE: dict[tuple[Phase, Signal], Phase] = {
    (Phase.ASSIGNED, Signal.START): Phase.FENCING,
    (Phase.ASSIGNED, Signal.STOP): Phase.RELEASED,
    (Phase.FENCING, Signal.OPENED): Phase.RESTORING,
    (Phase.RESTORING, Signal.RESTORED): Phase.RUNNING,
    (Phase.RUNNING, Signal.START): Phase.FENCING,
    (Phase.RUNNING, Signal.STOP): Phase.DRAINING,
    (Phase.DRAINING, Signal.STOPPED): Phase.RELEASED,
    (Phase.FAILED, Signal.START): Phase.FENCING,
    (Phase.FAILED, Signal.STOP): Phase.RELEASED,
    **{(phase, Signal.STOP): Phase.RELEASED for phase in (Phase.FENCING, Phase.RESTORING)},
    **{(phase, Signal.ERROR): Phase.FAILED for phase in (Phase.FENCING, Phase.RESTORING, Phase.RUNNING)},
    (Phase.DRAINING, Signal.ERROR): Phase.RELEASED,
}


def advance(phase: Phase, signal: Signal) -> Phase:
    """The phase after `signal`; a signal that the table does not list leaves the phase as it is."""
    return _TABLE.get((phase, signal), phase)
