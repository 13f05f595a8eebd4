"""Compute missing entries on one or several devices, with reading and writing in threads.

On each device one thread reads ahead, the model runs in the worker's thread, and another thread
checks and stores the results. Devices and processes share the episodes by claims. An entry appears
only when all its frames are stored.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch

from .._version import __version__
from ..data.dataset import EpisodeRef, missing_entries
from ..errors import UserError
from ..interfaces import Episode
from ..spec import Extract
from ..store.claims import Claims
from ..store.disk_errors import guard
from ..store.group_writer import GroupWriter, sweep
from ..system.progress import progress_bar
from ..system.threads import BackgroundWriter, prefetch, run_parallel
from .batch_size import AutoBatchSize
from .episode_queue import EpisodeQueue
from .token_codec import EncodedFrames

BLOCK_FRAMES = 64  # frames read at once, fewer if they are large
BLOCK_BYTES = 1 << 26
PREFETCHED_BLOCKS = 1
PENDING_BATCHES = 2  # encoded batches that wait to be stored

Encode = Callable[[int, Any], EncodedFrames]  # number of the first frame, the frames' input


class EntryEncoder(Protocol):
    """Computes one kind of entry on one device.

    Only ``begin`` and the function it returns run in the model's thread.
    """

    def read(self, episode: Episode, first: int, last: int) -> Any:
        """Return the model's input for frames ``first`` to ``last`` (exclusive), sliceable."""

    def begin(self, episode: Episode) -> Encode:
        """Return a function that encodes the episode's frames, called with them in order.

        After an error it may be called again with the same or fewer frames.
        """

    def store(self, writer: GroupWriter, first: int, encoded: EncodedFrames) -> None:
        """Append encoded frames to the entry; ``first`` is the number of the first of them."""

    def describe(self, episode: Episode) -> dict[str, Any]:
        """Return attributes of the entry that record how it was computed."""


def make_missing(
    title: str,
    folder: Path,
    episodes: Sequence[EpisodeRef],
    build: Callable[[str], EntryEncoder],
    devices: Sequence[str],
    config: Extract,
) -> int:
    """Compute the missing entries of a folder; return how many frames this process encoded.

    Processes that work on one folder share the episodes: each claims the one that it encodes, and
    at the end waits for those of the others. Progress counts the frames of all of them. ``build``
    makes the encoder for a device, once there is an episode for it.
    """
    with guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    missing = missing_entries(folder, episodes)
    if not missing:
        return 0
    with Claims(folder) as claims:
        pending = EpisodeQueue(title, folder, missing, claims)
        workers = _Workers(title, folder, build, devices, config, pending)
        firsts = workers.claim()
        frames = {ref.digest: ref.open().rgb.shape[0] for ref in (*firsts, *pending)}
        with progress_bar(title, sum(frames.values()), "frames") as advance:
            counter = _FrameCounter(advance, frames)
            pending.skipped = counter.skip
            workers.encode(firsts, counter)
            while pending.wait_for_others():
                workers.encode(workers.claim(), counter)
    sweep(folder)  # again: the claim of a killed process may have been taken over since
    return counter.encoded


class _FrameCounter:
    """Progress of several threads, and of the processes that encode other episodes."""

    def __init__(self, advance: Callable[..., None], frames: Mapping[str, int]) -> None:
        self.advance, self.frames, self.lock = advance, frames, threading.Lock()
        self.encoded = 0  # by this process

    def __call__(self, frames: int) -> None:
        with self.lock:
            self.encoded += frames
            self.advance(frames)

    def skip(self, ref: EpisodeRef) -> None:
        """Count an episode that another process encoded."""
        with self.lock:
            self.advance(self.frames[ref.digest])


@attrs.frozen(eq=False)
class _Workers:
    """The encoders of this process, each built when there is an episode for its device."""

    title: str
    folder: Path
    build: Callable[[str], EntryEncoder]
    devices: Sequence[str]
    config: Extract
    pending: EpisodeQueue
    built: list[tuple[EntryEncoder, AutoBatchSize]] = attrs.field(factory=list)

    def claim(self) -> list[EpisodeRef]:
        """Claim the first episode of each device, as far as there are any, and build encoders.

        Encoders are built one by one, because building may draw random numbers.
        """
        firsts = list(itertools.islice(iter(self.pending.take, None), len(self.devices)))
        for name in self.devices[len(self.built) : len(firsts)]:
            size = AutoBatchSize(self.title, self.config.batch_size, name)
            self.built.append((self.build(name), size))
        return firsts

    def encode(self, firsts: Sequence[EpisodeRef], counter: _FrameCounter) -> None:
        """Encode the first episodes, then all others that can be claimed."""
        workers = [
            DeviceWorker(self.config, self.title, self.folder, encoder, size, self.pending, first)
            for (encoder, size), first in zip(self.built, firsts, strict=False)
        ]
        if workers:
            run_parallel([partial(worker.work, counter) for worker in workers])


@attrs.frozen(eq=False, kw_only=True)
class _Block:
    """Consecutive frames of an episode, read and not yet encoded."""

    ref: EpisodeRef
    episode: Episode
    first: int
    data: Any


@attrs.frozen(eq=False, kw_only=True)
class _Batch:
    """Consecutive frames of an episode, encoded and not yet stored."""

    block: _Block
    first: int
    last: int  # exclusive
    encoded: EncodedFrames


@attrs.frozen(eq=False)
class DeviceWorker:
    """Computes entries on one device until no episode is left."""

    config: Extract
    title: str
    folder: Path
    encoder: EntryEncoder
    batch_size: AutoBatchSize
    pending: EpisodeQueue
    first_ref: EpisodeRef  # assigned up front: else a device that reads ahead may take them all

    def work(self, count_frames: Callable[[int], None], stop: Callable[[], bool]) -> None:
        """Read, encode and store concurrently; ``stop`` returns True once another worker failed."""
        with (
            _current_device(self.batch_size.device),
            EntryWriter(self, count_frames) as writer,
            BackgroundWriter(PENDING_BATCHES) as background,
            prefetch(self._read(), PREFETCHED_BLOCKS) as blocks,
        ):
            for batch in self._encode(blocks):
                if stop():
                    return
                background.put(partial(writer.store, batch))

    def _read(self) -> Iterator[_Block]:
        """Yield the blocks of one episode after another."""
        ref: EpisodeRef | None = self.first_ref
        while ref is not None:
            with self.naming(ref):
                episode = ref.open()
                length, *frame_shape = episode.rgb.shape
                limit = min(BLOCK_FRAMES, max(BLOCK_BYTES // math.prod(frame_shape), 1))
                size = self.batch_size.requested or limit
                for first in range(0, length, size):
                    data = self.encoder.read(episode, first, min(first + size, length))
                    yield _Block(ref=ref, episode=episode, first=first, data=data)
            ref = self.pending.take()

    def _encode(self, blocks: Iterator[_Block]) -> Iterator[_Batch]:
        for block in blocks:
            with self.naming(block.ref):
                if block.first == 0:
                    encode = self.encoder.begin(block.episode)
                work = partial(_encode_slice, encode, block)
                for first, last, encoded in self.batch_size.map(len(block.data), work):
                    start, stop = block.first + first, block.first + last
                    yield _Batch(block=block, first=start, last=stop, encoded=encoded)

    @contextmanager
    def naming(self, ref: EpisodeRef) -> Iterator[None]:
        """Name the episode in any error that the block raises."""
        try:
            yield
        except UserError as err:
            where = f"{self.title}: episode {ref.name}"
            raise UserError(*(f"{where}: {problem}" for problem in err.args)) from err
        except Exception as err:
            err.add_note(f"in {self.title}, episode {ref.name}")
            raise


def _encode_slice(encode: Encode, block: _Block, first: int, last: int) -> EncodedFrames:
    return encode(block.first + first, block.data[first:last])


class EntryWriter:
    """Stores the batches of one episode after another; on exit an incomplete entry is discarded."""

    def __init__(self, worker: DeviceWorker, count_frames: Callable[[int], None]) -> None:
        self.worker, self.count_frames = worker, count_frames
        self.group: GroupWriter | None = None

    def store(self, batch: _Batch) -> None:
        """Append a batch, and commit the entry after its last frame."""
        worker, ref, episode = self.worker, batch.block.ref, batch.block.episode
        with worker.naming(ref):
            if self.group is None:
                path = worker.folder / ref.digest
                self.group = GroupWriter(path, codec=worker.config.compression)
            worker.encoder.store(self.group, batch.first, batch.encoded)
            self.count_frames(batch.last - batch.first)
            if batch.last == episode.rgb.shape[0]:
                self.group.commit(_provenance(ref) | worker.encoder.describe(episode))
                self.group = None
                worker.pending.finish(ref)

    def __enter__(self) -> EntryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self.group is not None:
            self.group.abort()


def _provenance(ref: EpisodeRef) -> dict[str, Any]:
    return {
        "episode": ref.name,
        "episode_digest": ref.digest,
        "rgb2act": __version__,
        "torch": torch.__version__,
    }


def _current_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the thread's current device, which some kernels require."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
