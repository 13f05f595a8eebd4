"""How many frames are encoded at once: as asked, or as many as memory holds, fewer when it is out.

Sizes are found from memory and not from time, so that one machine makes the same choice each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ..errors import UserError
from ..system.devices import free_memory, measure_peak_memory
from ..system.progress import say

MOST = 64  # frames: more make no device faster
UNMEASURED = 8  # frames, where memory cannot be asked
SHARE = 0.5  # of a device's free memory
HOST_SHARE = 0.25  # of the machine's, which others need too
HOST_MOST = 1 << 30  # bytes: a CPU does not gain from more, and a batch would take long
_NO_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)

T = TypeVar("T")


class AutoBatchSize:
    """Cut frames into batches.

    ``asked`` = 0 finds the size: one frame to load what is loaded on first use, two frames to
    measure what they need, then what fits, at most ``MOST``.
    """

    def __init__(self, title: str, asked: int, device: str) -> None:
        self.title, self.asked, self.device = title, asked, torch.device(device)
        self.size, self.settled = asked or 1, asked > 0

    def map(self, count: int, work: Callable[[int, int], T]) -> Iterator[tuple[int, int, T]]:
        """Yield (first, last, work(first, last)) of pieces that make up ``count`` frames.

        When memory runs out, the size is halved and the piece done again; a single frame that
        does not fit raises UserError.
        """
        first = 0
        while first < count:
            pieces = -(-(count - first) // self.size)
            last = first + -(-(count - first) // pieces)  # pieces of one size, as nearly as may be
            for result in self._try(work, first, last):
                yield first, last, result
                first = last

    def _try(self, work: Callable[[int, int], T], first: int, last: int) -> tuple[T, ...]:
        """Return the result, or nothing when memory ran out and the size was halved."""
        count = last - first
        try:
            if self.settled:
                return (work(first, last),)
            with measure_peak_memory(str(self.device)) as used:
                result = work(first, last)
            self._grow(count, used())
            return (result,)
        except (RuntimeError, MemoryError) as err:
            if not out_of_memory(err):
                raise
            if count == 1:
                raise UserError(
                    "out of memory with one frame at once; choose another [compute] device,"
                    " a smaller model, fewer frames of context or smaller images"
                ) from err
        # not within the except clause: there the error keeps what the piece took
        self.size, self.settled = count // 2, True
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        say(f"{self.title}: out of memory with {count} frames at once; goes on with {self.size}")
        return ()

    def _grow(self, count: int, used: int | None) -> None:
        """Choose the next size from the bytes that ``count`` frames took."""
        if count < self.size:
            return
        if count == 1:
            self.size = 2
            return
        self.size, self.settled = fitting(self.device, used), True


def fitting(device: torch.device, used: int | None) -> int:
    """Return how many frames fit, a power of two, if two of them took ``used`` bytes.

    All of it is counted as one frame's, since the allocator may have kept room from before.
    """
    if used is None:
        return UNMEASURED
    frames = max(free(device) // max(used, 1), 1)
    return int(min(1 << (frames.bit_length() - 1), MOST))


def free(device: torch.device) -> int:
    """Return the bytes that batches may take."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(SHARE * (free_memory(str(device)) + kept))
    return min(int(HOST_SHARE * free_memory("cpu")), HOST_MOST)


def out_of_memory(err: BaseException) -> bool:
    """Tell whether an exception of torch or numpy means that memory ran out."""
    return isinstance(err, torch.OutOfMemoryError | MemoryError) or (
        isinstance(err, RuntimeError) and bool(_NO_MEMORY.search(str(err)))
    )
