"""Fetch the next steps' tokens in a thread while the present step is computed.

What is fetched ahead is a guess: a step takes it only if it is what it asks for, so that training
gives the same bits with and without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .token_grids import TokenSample

Part = tuple[NDArray[np.int64], TokenSample | None]  # rows, and which of their places
DEPTH = 2  # parts that are fetched and not yet taken


class TokenPrefetcher:
    """Fetch parts of batches in the order in which they will be asked for."""

    def __init__(
        self, gather: Callable[[NDArray[np.int64], TokenSample | None], list[Tensor]]
    ) -> None:
        self.gather = gather
        self.thread = ThreadPoolExecutor(1, "tokens")
        self.expected: deque[Part] = deque()
        self.fetched: deque[tuple[Part, Future[list[Tensor]]]] = deque()
        self.hits = 0  # parts that were there or under way when they were asked for

    def expect(self, parts: Sequence[Part]) -> None:
        """Name parts that will be asked for after those named before."""
        self.expected.extend(parts)
        self._fill()

    def get(self, rows: NDArray[np.int64], drawn: TokenSample | None) -> list[Tensor]:
        """Return the tokens of some rows; those that were not expected are gathered now."""
        if not self.fetched:
            return self.gather(rows, drawn)
        part, coming = self.fetched.popleft()
        if not _same(part, (rows, drawn)):
            self.expected.clear()
            self.fetched.clear()
            return self.gather(rows, drawn)
        self._fill()
        self.hits += 1
        return coming.result()

    def _fill(self) -> None:
        while self.expected and len(self.fetched) < DEPTH:
            part = self.expected.popleft()
            self.fetched.append((part, self.thread.submit(self.gather, *part)))


def _same(one: Part, other: Part) -> bool:
    places = [None if drawn is None else drawn.at for _, drawn in (one, other)]
    if not np.array_equal(one[0], other[0]) or (places[0] is None) != (places[1] is None):
        return False
    return places[0] is None or places[1] is None or places[0].equal(places[1])
