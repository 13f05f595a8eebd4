"""Parts of a stage's work, for processes that are started side by side without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen
class Shard:
    """One of ``count`` parts, numbered from 1. Units of work are dealt out by their number."""

    number: int = 1
    count: int = 1

    @property
    def divides(self) -> bool:
        """Return whether there are other shards."""
        return self.count > 1

    def owns(self, index: int) -> bool:
        """Return whether the unit of this index belongs to the shard."""
        return index % self.count == self.number - 1

    def part(self, units: Sequence[T]) -> list[T]:
        """Return the units that belong to the shard."""
        return list(units[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


ALL = Shard()
