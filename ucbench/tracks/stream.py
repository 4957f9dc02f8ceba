"""A stream of integers from a text key, the same on every machine and in every version of Python."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class IntStream:
    """Uniform integers from BLAKE2b in counter mode; no floats, so no rounding that could differ."""

    def __init__(self, key: str) -> None:
        self._key = key.encode("utf-8")
        self._counter = 0
        self._pool: list[int] = []

    def _word(self) -> int:
        if not self._pool:
            block = hashlib.blake2b(self._counter.to_bytes(8, "big") + self._key).digest()
            self._counter += 1
            self._pool = [int.from_bytes(block[i : i + 4], "big") for i in range(0, 64, 4)]
        return self._pool.pop()

    def below(self, n: int) -> int:
        """An integer in [0, n), without modulo bias."""
        limit = (1 << 32) // n * n
        while True:
            word = self._word()
            if word < limit:
                return word % n

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A copy in random order (Fisher-Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out


def noise_bytes(key: str, n: int) -> bytes:
    """`n` pseudo-random bytes for pixel noise (SHAKE-256, one call)."""
    return hashlib.shake_256(key.encode("utf-8")).digest(n)
