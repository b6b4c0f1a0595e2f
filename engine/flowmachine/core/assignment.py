"""Which engine owns which home partition: even, sticky, and the same answer for the same question."""

from collections.abc import Collection, Mapping


def assign_partitions(owned: Mapping[str, Collection[int]], partitions: int) -> dict[str, list[int]]:
    """Spread `range(partitions)` over the members of `owned` (what each owned before).

    Counts differ by one at the most, and no partition moves that need not: members keep what they had up to their
    share, what is left goes to those below theirs. Returns a sorted list for every member, also an empty one.
    """
    free = set(range(partitions))
    members = sorted(
        owned, key=lambda member: (-len(free.intersection(owned[member])), member)
    )  # the richest keep the odd ones
    if not members:
        return {}
    least, extra = divmod(partitions, len(members))
    shares: dict[str, list[int]] = {}
    for rank, member in enumerate(members):
        share = least + (1 if rank < extra else 0)
        kept = sorted(free.intersection(owned[member]))[:share]
        free.difference_update(kept)
        shares[member] = kept
    rest = sorted(free)
    for rank, member in enumerate(members):
        wanted = least + (1 if rank < extra else 0) - len(shares[member])
        shares[member] = sorted(shares[member] + rest[:wanted])
        rest = rest[wanted:]
    return shares
