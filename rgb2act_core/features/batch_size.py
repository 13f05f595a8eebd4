"""The number of frames encoded at once: as requested, or as many as fit in memory.

The automatic size depends on free memory and not on timings, so that it is reproducible on a
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ..errors import UserError
from ..system.devices import free_memory, measure_peak_memory
from ..system.memory import is_out_of_memory
from ..system.progress import say

MAX_FRAMES = 64  # larger batches are not faster on any device
UNMEASURED_FRAMES = 8  # where the memory in use cannot be measured
SHARE = 0.5  # of a device's free memory
HOST_SHARE = 0.25  # of the host's free memory, which other processes need too
HOST_BYTES = 1 << 30  # at most: larger batches are not faster on a CPU and delay progress
THREAD_BYTES = 1 << 27  # at most for each thread: memory of larger arrays is not reused

T = TypeVar("T")


class AutoBatchSize:
    """Splits frames into batches that fit in memory.

    ``requested`` = 0 chooses the size automatically: one frame warms up the model, two frames
    measure the memory per frame, and from then on batches have as many frames as fit, up to
    ``MAX_FRAMES``.
    """

    def __init__(self, title: str, requested: int, device: str) -> None:
        self.title, self.requested, self.device = title, requested, torch.device(device)
        self.size, self.settled = requested or 1, requested > 0

    def map(self, count: int, work: Callable[[int, int], T]) -> Iterator[tuple[int, int, T]]:
        """Yield (first, last, work(first, last)) of the batches of ``count`` frames.

        If memory runs out, the size is halved and the batch repeated. Raises UserError if a single
        frame does not fit.
        """
        first = 0
        while first < count:
            batches = -(-(count - first) // self.size)
            last = first + -(-(count - first) // batches)  # batches of nearly equal size
            for result in self._attempt(work, first, last):
                yield first, last, result
                first = last

    def _attempt(self, work: Callable[[int, int], T], first: int, last: int) -> tuple[T, ...]:
        """Return the result, or nothing if memory ran out and the size was halved."""
        count = last - first
        try:
            if self.settled:
                return (work(first, last),)
            with measure_peak_memory(str(self.device)) as used:
                result = work(first, last)
            self._grow(count, used())
            return (result,)
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err):
                raise
            if count == 1:
                raise UserError(
                    "out of memory with a batch of one frame; choose another [compute] device, a"
                    " smaller model, fewer context frames or smaller images"
                ) from err
        # outside the except clause, where the error's traceback keeps the batch in memory
        self.size, self.settled = count // 2, True
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        say(
            f"{self.title}: out of memory with a batch of {count} frames; continuing with"
            f" {self.size}"
        )
        return ()

    def _grow(self, count: int, used: int | None) -> None:
        """Choose the next size from the bytes that ``count`` frames used."""
        if count < self.size:
            return
        if count == 1:
            self.size = 2
            return
        self.size, self.settled = fitting(self.device, used), True


def fitting(device: torch.device, used: int | None) -> int:
    """Return a power of two of frames that fit, if two frames used ``used`` bytes.

    The bytes count as those of one frame, because the allocator may have reused memory that it
    held before.
    """
    if used is None:
        return UNMEASURED_FRAMES
    frames = max(available(device) // max(used, 1), 1)
    return int(min(1 << (frames.bit_length() - 1), MAX_FRAMES))


def available(device: torch.device) -> int:
    """Return the bytes that a batch may use."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(SHARE * (free_memory(str(device)) + cached))
    limit = min(HOST_BYTES, THREAD_BYTES * torch.get_num_threads())
    return min(int(HOST_SHARE * free_memory("cpu")), limit)
