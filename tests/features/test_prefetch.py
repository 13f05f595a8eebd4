"""The prefetcher returns the tokens of each step in order, and gathers ahead."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch

from rgb2act_core.features.prefetch import DEPTH, TokenPrefetcher, TokenRequest
from rgb2act_core.features.token_grids import TokenSample


def request(row: int) -> TokenRequest:
    return TokenRequest(rows=np.array([row]), sample=None)


class Gather:
    """Return the rows themselves, and record which thread gathered which row."""

    def __init__(self) -> None:
        self.threads: dict[int, str] = {}

    def __call__(self, rows: Any, sample: TokenSample | None) -> list[torch.Tensor]:
        self.threads[int(rows[0])] = threading.current_thread().name
        return [torch.from_numpy(rows)]


def test_submitted_requests_are_gathered_in_the_background() -> None:
    gather = Gather()
    prefetcher = TokenPrefetcher(gather)
    prefetcher.submit(1, [request(row) for row in range(4)])
    found = [prefetcher.take(1, request(row))[0].item() for row in range(4)]
    assert found == [0, 1, 2, 3]
    assert all(name.startswith("tokens") for name in gather.threads.values())


def test_a_step_that_was_not_submitted_is_gathered_now_and_the_next_is_kept() -> None:
    gather = Gather()
    prefetcher = TokenPrefetcher(gather)
    prefetcher.submit(1, [request(10), request(11)])
    assert prefetcher.take(0, request(0))[0].item() == 0
    assert gather.threads[0] == threading.current_thread().name
    assert [prefetcher.take(1, request(row))[0].item() for row in (10, 11)] == [10, 11]
    assert all(gather.threads[row].startswith("tokens") for row in (10, 11))


def test_few_requests_are_in_memory_at_once() -> None:
    gather = Gather()
    prefetcher = TokenPrefetcher(gather)
    prefetcher.submit(1, [request(row) for row in range(5)])
    prefetcher._thread.submit(lambda: None).result()  # after all that has been started
    assert len(gather.threads) == DEPTH
    prefetcher.take(1, request(0))
    prefetcher._thread.submit(lambda: None).result()
    assert len(gather.threads) == DEPTH + 1
