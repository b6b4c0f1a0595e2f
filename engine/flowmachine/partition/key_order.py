"""Keys in their order, for lists of sagas that go on behind a key: blocks of a bounded size, each sorted.

Adding and removing cost a search and the move of at most a block, about a microsecond with a million keys.
"""

from bisect import bisect_left, bisect_right
from typing import Final

BLOCK_KEYS: Final = 1000
"""Keys per block after a split: small to move within, and few enough blocks to search."""


class KeyOrder:
    """A sorted set of keys."""

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = []
        self._lasts: list[bytes] = []
        """The last key of each block."""

    def add(self, key: bytes) -> None:
        """Without effect if it is there."""
        if not self._blocks:
            self._blocks.append([])
            self._lasts.append(key)
        number = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
        block = self._blocks[number]
        position = bisect_left(block, key)
        if position < len(block) and block[position] == key:
            return
        block.insert(position, key)
        if len(block) > 2 * BLOCK_KEYS:
            self._blocks[number : number + 1] = [block[:BLOCK_KEYS], block[BLOCK_KEYS:]]
            self._lasts[number : number + 1] = [block[BLOCK_KEYS - 1], block[-1]]
        else:
            self._lasts[number] = block[-1]

    def discard(self, key: bytes) -> None:
        """Without effect if it is not there."""
        number = bisect_left(self._lasts, key)
        if number == len(self._lasts):
            return
        block = self._blocks[number]
        position = bisect_left(block, key)
        if block[position] != key:
            return
        del block[position]
        if block:
            self._lasts[number] = block[-1]
        else:
            del self._blocks[number], self._lasts[number]

    def after(self, key: bytes, count_max: int) -> list[bytes]:
        """The next `count_max` keys behind `key`; fewer only at the end."""
        found: list[bytes] = []
        number = bisect_right(self._lasts, key)
        while number < len(self._blocks) and len(found) < count_max:
            block = self._blocks[number]
            start = 0 if found else bisect_right(block, key)
            found += block[start : start + count_max - len(found)]
            number += 1
        return found
