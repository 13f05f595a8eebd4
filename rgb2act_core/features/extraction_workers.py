"""Make the entries of episodes on one device or several, each with threads around its model.

A thread reads ahead, the model runs, a thread checks and stores behind it. Devices take episodes
from one queue. An entry is stored whole or not at all.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor

from .._version import __version__
from ..data.dataset import EpisodeRef, missing
from ..errors import UserError
from ..interfaces import Episode
from ..spec import Extract
from ..store.files import guard, locked
from ..store.group_writer import GroupWriter, sweep
from ..system.progress import task
from ..system.threads import BackgroundWriter, prefetch, run_parallel
from .batch_size import AutoBatchSize

BLOCK = 64  # frames read at once, fewer where they are large
BLOCK_BYTES = 1 << 26
DEPTH = 1  # blocks read in advance
WAITING = 2  # batches that wait to be stored


class EntryEncoder(Protocol):
    """Make one kind of entry on one device; only ``begin`` is called in the model's thread."""

    def read(self, episode: Episode, first: int, last: int) -> Any:
        """Return what the model takes of these frames, to be sliced by frame."""

    def begin(self, episode: Episode) -> Callable[[int, Any], Tensor]:
        """Return a function that is given the episode's next frames and returns their rows.

        It is given the number of the first of them besides. If it raises, it may be called again.
        """

    def store(self, writer: GroupWriter, first: int, rows: Tensor) -> None:
        """Write the rows of the frames from ``first`` on."""

    def describe(self, episode: Episode) -> dict[str, Any]:
        """Return what an entry says of where it comes from."""


def make_missing(
    title: str,
    folder: Path,
    sources: Sequence[EpisodeRef],
    build: Callable[[str], EntryEncoder],
    devices: Sequence[str],
    config: Extract,
) -> None:
    """Make the entries that are missing under the folder's lock, with progress in frames."""
    with locked(folder.with_name(folder.name + ".lock")):
        with guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        wanted = missing(folder, sources)
        if not wanted:
            return  # another run did it while we waited
        left: queue.SimpleQueue[EpisodeRef] = queue.SimpleQueue()
        for source in wanted:
            left.put(source)
        names = devices[: len(wanted)]
        makers = [build(name) for name in names]  # in turn: building may draw random numbers
        frames = sum(source.open().rgb.shape[0] for source in wanted)
        with task(title, frames, "frames") as advance:
            counting = _Counting(advance)
            sizes = [AutoBatchSize(title, config.batch_size, name) for name in names]
            lanes = [
                DeviceWorker(config, title, folder, maker, size, left.get_nowait())
                for maker, size in zip(makers, sizes, strict=True)
            ]
            run_parallel([partial(lane.work, left, counting) for lane in lanes])


class _Counting:
    """Count frames of several threads."""

    def __init__(self, advance: Callable[..., None]) -> None:
        self.advance, self.lock = advance, threading.Lock()

    def __call__(self, frames: int) -> None:
        with self.lock:
            self.advance(frames)


@attrs.frozen(eq=False, kw_only=True)
class _Block:
    """Hold frames of an episode that were read."""

    source: EpisodeRef
    episode: Episode
    first: int
    data: Any


@attrs.frozen(eq=False)
class DeviceWorker:
    """Make entries on one device until no episode is left."""

    config: Extract
    title: str
    folder: Path
    maker: EntryEncoder
    batch: AutoBatchSize
    source: EpisodeRef  # the first; else one device, reading ahead, might take another's only one

    def work(
        self,
        left: queue.SimpleQueue[EpisodeRef],
        counting: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> None:
        """Read, compute and store at once; ``stop`` tells that another lane failed."""
        with (
            _on(self.batch.device),
            EntryWriter(self, counting) as shelf,
            BackgroundWriter(WAITING) as behind,
            prefetch(self._read(left), DEPTH) as blocks,
        ):
            for block, first, rows in self._compute(blocks):
                if stop():
                    return
                behind.put(partial(shelf.store, block, first, rows))

    def _read(self, left: queue.SimpleQueue[EpisodeRef]) -> Iterator[_Block]:
        """Yield the blocks of one episode after another."""
        source = self.source
        while True:
            with self.naming(source):
                episode = source.open()
                length, *frame = episode.rgb.shape
                most = min(BLOCK, max(BLOCK_BYTES // math.prod(frame), 1))
                size = self.batch.asked or most
                for first in range(0, length, size):
                    data = self.maker.read(episode, first, min(first + size, length))
                    yield _Block(source=source, episode=episode, first=first, data=data)
            try:
                source = left.get_nowait()
            except queue.Empty:
                return

    def _compute(self, blocks: Iterator[_Block]) -> Iterator[tuple[_Block, int, Tensor]]:
        """Yield block, first frame and rows of one batch after another."""
        for block in blocks:
            with self.naming(block.source):
                if block.first == 0:
                    model = self.maker.begin(block.episode)
                work = partial(_apply, model, block)
                for first, _, rows in self.batch.map(len(block.data), work):
                    yield block, block.first + first, rows

    @contextmanager
    def naming(self, source: EpisodeRef) -> Iterator[None]:
        """Say in an error which episode it is about."""
        try:
            yield
        except UserError as err:
            place = f"{self.title}: episode {source.name}"
            raise UserError(*(f"{place}: {problem}" for problem in err.args)) from err
        except Exception as err:
            err.add_note(f"in {self.title}, episode {source.name}")
            raise


def _apply(model: Callable[[int, Any], Tensor], block: _Block, first: int, last: int) -> Tensor:
    return model(block.first + first, block.data[first:last])


class EntryWriter:
    """Store the rows of one episode after another; leaving discards one that is not whole."""

    def __init__(self, lane: DeviceWorker, counting: Callable[[int], None]) -> None:
        self.lane, self.counting = lane, counting
        self.writer: GroupWriter | None = None

    def store(self, block: _Block, first: int, rows: Tensor) -> None:
        """Write rows, and commit the entry when they are the last ones."""
        lane = self.lane
        with lane.naming(block.source):
            if self.writer is None:
                path = lane.folder / block.source.digest
                self.writer = GroupWriter(path, codec=lane.config.compression)
            lane.maker.store(self.writer, first, rows)
            self.counting(len(rows))
            if first + len(rows) == block.episode.rgb.shape[0]:
                self.writer.commit(_provenance(block.source) | lane.maker.describe(block.episode))
                self.writer = None

    def __enter__(self) -> EntryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.abort()


def _provenance(source: EpisodeRef) -> dict[str, Any]:
    return {
        "episode": source.name,
        "episode_digest": source.digest,
        "rgb2act": __version__,
        "torch": torch.__version__,
    }


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the thread's current one: some kernels ask for it."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
