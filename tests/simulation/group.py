"""The coordinator of the machine's consumer group: members, and who owns which home partition.

Members are static, their address is their name: one that comes back takes its place at once. A member that has not
been heard of for a session's time is out, and what it owned goes to others while it may still be at work: fencing, not
the group, keeps two owners apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowmachine.core.assignment import assign_partitions
from flowmachine.ports import Assignment
from tests.simulation.history import History

SESSION_SECONDS = 10.0


@dataclass
class Member:
    """A member as the coordinator knows it."""

    heard_at: float
    owned: list[int] = field(default_factory=list)


class Group:
    """Nothing here waits; members ask for their assignment with each heartbeat."""

    def __init__(self, home_partitions: int, history: History) -> None:
        self.members: dict[str, Member] = {}
        self.generation = 0
        self._home_partitions = home_partitions
        self._history = history
        self._counts: dict[str, int] = {}

    def join(self, address: str, counts: Mapping[str, int], now: float) -> None:
        """Become a member, or be one again; `counts`: partitions of the input topics."""
        is_new = address not in self.members
        member = self.members.setdefault(address, Member(now))
        member.heard_at = now
        if is_new:
            self._rebalance(counts)

    def leave(self, address: str) -> None:
        """Be no member any more."""
        if self.members.pop(address, None) is not None:
            self._rebalance(self._counts)

    def heartbeat(self, address: str, counts: Mapping[str, int], now: float) -> Assignment | None:
        """What the member owns now; None: it is none (any more) and has to join."""
        for other, late in list(self.members.items()):
            if now - late.heard_at > SESSION_SECONDS and other != address:
                self._history.note("group", f"{other} has not been heard of, it is out")
                self.leave(other)
        member = self.members.get(address)
        if member is None or now - member.heard_at > SESSION_SECONDS:
            self.leave(address)
            return None
        member.heard_at = now
        if counts != self._counts:
            self._rebalance(counts)
        owners = {home: other for other, each in self.members.items() for home in each.owned}
        return Assignment(frozenset(member.owned), owners, dict(self._counts), self.generation)

    def _rebalance(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)
        self.generation += 1
        shares = assign_partitions({name: each.owned for name, each in self.members.items()}, self._home_partitions)
        for name, share in shares.items():
            self.members[name].owned = share
        self._history.note("group", f"generation {self.generation}: {shares}")
