"""Gather the tokens of the next training step in a thread while the current step is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import attrs
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .token_grids import TokenSample

DEPTH = 2  # parts in memory that are gathered and not taken yet


@attrs.frozen(eq=False, kw_only=True)
class TokenRequest:
    """Rows whose tokens are needed, and which cells of the grid."""

    rows: NDArray[np.int64]
    sample: TokenSample | None  # None: all cells


Gather = Callable[[NDArray[np.int64], TokenSample | None], list[Tensor]]


class TokenPrefetcher:
    """Gather requested tokens in the background, in the order in which they were requested.

    A training step is a pure function of its number, so the requests of a step are the same when
    they are submitted and when they are taken.
    """

    def __init__(self, gather: Gather) -> None:
        self.gather = gather
        self._thread = ThreadPoolExecutor(1, "tokens")
        self._waiting: deque[tuple[int, TokenRequest]] = deque()
        self._gathered: deque[tuple[int, Future[list[Tensor]]]] = deque()

    def submit(self, step: int, requests: Sequence[TokenRequest]) -> None:
        """Queue all requests of a step, in the order in which the step takes them."""
        self._waiting.extend((step, request) for request in requests)
        self._start()

    def take(self, step: int, request: TokenRequest) -> list[Tensor]:
        """Return the tokens (B, V, N, C) of a step's next request, one tensor per backbone.

        Requests of a step that was not submitted are gathered in the calling thread.
        """
        if not self._gathered or self._gathered[0][0] != step:
            return self.gather(request.rows, request.sample)
        _, tokens = self._gathered.popleft()
        self._start()
        return tokens.result()

    def _start(self) -> None:
        while self._waiting and len(self._gathered) < DEPTH:
            step, request = self._waiting.popleft()
            tokens = self._thread.submit(self.gather, request.rows, request.sample)
            self._gathered.append((step, tokens))
