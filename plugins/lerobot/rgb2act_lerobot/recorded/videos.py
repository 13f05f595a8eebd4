"""Frames of an episode in a video file: found by their number, each checked by its time.

Shapes: T = frames of the episode, H W = pixels
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from rgb2act_core import UserError, check_memory, first_line

from .files import REMEDY, State, check_file

LARGEST = 16384  # pixels per side
OPEN = 16  # videos that stay open
AHEAD = 4  # frames before a key frame that are decoded rather than left out by a seek
SAME_RATE = 0.05  # largest relative difference of the video's own frame rate from the data set's

_PROBLEMS = (av.error.FFmpegError, OSError, ValueError, EOFError, IndexError)


@attrs.frozen(eq=False, kw_only=True)
class VideoClip:
    """The frames of an episode in a video file."""

    path: Path
    label: str
    """Episode and camera, for messages."""
    ticks: NDArray[np.int64]
    """Times of the frames (T,), in the time base of the video."""
    size: tuple[int, int]
    digest: str
    """Digest of the encoded frames."""
    keys: NDArray[np.int64]
    """Index (T,) of the last key frame up to each frame; 0 if it is before the episode."""

    def frames(self, indices: NDArray[np.int64], form: str = "rgb24") -> Iterator[NDArray[Any]]:
        """Yield the frames of ascending indices as arrays of a pixel format of FFmpeg."""
        for index in indices.tolist():
            frame = self._decode(index)
            if (frame.height, frame.width) != self.size:
                raise self.damaged(index, f"is {frame.height}x{frame.width}, not {self.size!r}")
            yield frame.to_ndarray(format=form)

    def _decode(self, index: int) -> VideoFrame:
        tick = int(self.ticks[index])
        try:
            with _reader(self.path) as reader:
                near = max(0, int(self.keys[index]) - AHEAD)
                frame = reader.frame_at(tick, int(self.ticks[near]))
        except _PROBLEMS as err:
            raise self.damaged(index, f"cannot be decoded ({first_line(err)})") from err
        if frame is None:
            raise self.damaged(index, "cannot be decoded (the decoder leaves it out)")
        return frame

    def damaged(self, index: int, problem: str) -> UserError:
        """Return the error for a frame that cannot be read."""
        return UserError(f"{self.path}: {self.label}: frame {index}: {problem}; {REMEDY}")


def open_clip(
    path: Path, root: Path, label: str, start: float, length: int, fps: float
) -> VideoClip:
    """Find the frames of an episode, whose first is at ``start`` seconds, without decoding them.

    Frames are counted from the first one, and each must be within half a frame of its place. They
    are read once per process. Raises UserError that names the first frame that is missing or
    elsewhere.
    """
    return _found(path, label, start, length, fps, check_file(path, root))


@cache
def _found(path: Path, label: str, start: float, length: int, fps: float, _: State) -> VideoClip:
    try:
        with _opened(path) as (container, stream):
            size = _size(path, label, stream)
            packets, keys = _packets(container, stream, start, length, fps)
            rate, base, first = _rate(stream, fps), stream.time_base, stream.start_time or 0
    except _PROBLEMS as err:
        raise UserError(
            f"{path}: {label}: is not a readable video ({first_line(err)}); {REMEDY}"
        ) from err
    ticks = np.array(sorted(packets), np.int64)
    times = (ticks - first) * float(base or 1)
    ticks = ticks[times > start - 0.5 / rate][:length]
    expected = start + np.arange(len(ticks)) / rate
    apart = np.abs((ticks - first) * float(base or 1) - expected) * rate
    wrong = np.flatnonzero(apart > 0.5)
    if len(wrong):
        k = int(wrong[0])
        when = (ticks[k] - first) * float(base or 1)
        raise UserError(
            f"{path}: {label}: frame {k}: is at {when:.4f} s, expected {expected[k]:.4f} s at"
            f" {rate:g} frames per second; {REMEDY}"
        )
    if len(ticks) < length:
        raise UserError(
            f"{path}: {label}: frame {len(ticks)}: is missing: the video has {len(ticks)} frames"
            f" from {start:.4f} s on, expected {length}; {REMEDY}"
        )
    return VideoClip(
        path=path,
        label=label,
        ticks=ticks,
        size=size,
        digest=_digest(packets, ticks),
        keys=_last_keys(ticks, keys),
    )


def _last_keys(ticks: NDArray[np.int64], keys: list[int]) -> NDArray[np.int64]:
    """Return the index of the last key frame up to each frame."""
    indices = np.where(np.isin(ticks, keys), np.arange(len(ticks)), 0)
    return np.maximum.accumulate(indices)


def _rate(stream: VideoStream, fps: float) -> float:
    """Return the frame rate of the video if it is close to that of the data set, which may be cut.

    Data sets that were converted or edited by hand have 29 for 29.97 frames per second.
    """
    own = float(stream.average_rate or 0)
    return own if abs(own - fps) <= SAME_RATE * fps else fps


def _size(path: Path, label: str, stream: VideoStream) -> tuple[int, int]:
    height, width = stream.codec_context.height, stream.codec_context.width
    if not (0 < height <= LARGEST and 0 < width <= LARGEST):
        raise UserError(
            f"{path}: {label}: has {height}x{width} pixels; at most {LARGEST} per side are"
            " supported"
        )
    check_memory(path, height * width * 3 * 16, "a few decoded frames")
    return height, width


def _packets(
    container: InputContainer, stream: VideoStream, start: float, length: int, fps: float
) -> tuple[dict[int, bytes], list[int]]:
    """Return the digests of encoded frames by their time in ticks, from the key frame on, and the
    times of the key frames."""
    base, first = stream.time_base or Fraction(1, 1000), stream.start_time or 0
    wanted = first + round(start / base)
    last = first + int((start + (length + 1) / (fps * (1 - SAME_RATE))) / base) + 1
    for back in (1, round(2 / base), None):
        container.seek(max(0, wanted - back) if back else 0, stream=stream, backward=True)
        found: dict[int, bytes] = {}
        keys: list[int] = []
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            if packet.is_corrupt:  # of a file that was cut: the caller counts the frames
                break
            if packet.is_keyframe:
                keys.append(packet.pts)
            found[packet.pts] = hashlib.blake2b(bytes(packet), digest_size=16).digest()
            if packet.dts is not None and packet.dts > last:
                break
        if found and min(found) <= wanted + 0.5 / fps / base:
            break
    return found, keys


def _digest(packets: dict[int, bytes], ticks: NDArray[np.int64]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for tick in ticks.tolist():
        state.update(packets[tick])
    return state.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video, always as MP4: other formats may name other files or addresses to open."""
    with av.open(str(path), format="mp4", metadata_errors="ignore") as container:
        if not container.streams.video:
            raise ValueError("has no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("has an unknown codec")
        yield container, stream


class _Reader:
    """An open video and its decoder, which continues where it stopped."""

    def __init__(self, path: Path) -> None:
        self._opened = _opened(path)
        self._container, self._stream = self._opened.__enter__()
        self._stream.codec_context.options = {"err_detect": "explode"}  # damage is an error
        self._frames: Iterator[VideoFrame] | None = None
        self._last: VideoFrame | None = None

    def close(self) -> None:
        """Close the file."""
        self._frames = self._last = None
        self._opened.__exit__(None, None, None)

    def frame_at(self, tick: int, near: int) -> VideoFrame | None:
        """Return the frame at a time in ticks; None if there is none.

        A position from ``near`` on is decoded onwards, any other is sought. If the frames at the
        key frame before it need frames before that one, decoding begins earlier, at last with the
        first frame.
        """
        base = self._stream.time_base or Fraction(1, 1000)
        if self._last is not None and near <= (self._last.pts or 0) <= tick:
            return self._onwards(tick)
        for back in (1, round(2 / base), None):
            self._frames = self._last = None
            position = max(0, tick - back) if back else 0
            self._container.seek(position, stream=self._stream, backward=True)
            try:
                frame = self._onwards(tick)
            except _PROBLEMS:
                if back is None:
                    raise
                continue
            if frame is not None:
                return frame
        return None

    def _onwards(self, tick: int) -> VideoFrame | None:
        if self._last is not None and self._last.pts == tick:
            return self._last
        if self._frames is None:
            self._frames = self._container.decode(self._stream)
        for frame in self._frames:
            self._last = frame
            if frame.pts is not None and frame.pts >= tick:
                return frame if frame.pts == tick else None
        self._frames = self._last = None
        return None


class _OpenReaders:
    """The open videos of this process, by thread and path. The one used longest ago is closed.

    Decoders have threads, which a forked process does not have: freeing an inherited decoder there
    crashes. All are closed before a fork, and opened again where they are needed.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers: OrderedDict[tuple[int, Path], _Reader] = OrderedDict()
        os.register_at_fork(
            before=self._close_all,
            after_in_parent=self.lock.release,
            after_in_child=self.lock.release,
        )

    def take(self, path: Path) -> _Reader:
        """Return this thread's reader of a video, which is opened if necessary."""
        with self.lock:
            reader = self.readers.pop((threading.get_ident(), path), None)
        return reader or _Reader(path)

    def put(self, path: Path, reader: _Reader) -> None:
        """Keep a reader open, so that the next frames are decoded onwards."""
        with self.lock:
            self.readers[threading.get_ident(), path] = reader
            while len(self.readers) > OPEN:
                self.readers.popitem(last=False)[1].close()

    def _close_all(self) -> None:
        self.lock.acquire()
        while self.readers:
            self.readers.popitem()[1].close()


_open = _OpenReaders()


@contextmanager
def _reader(path: Path) -> Iterator[_Reader]:
    """Yield an open reader of a video, which is closed if decoding fails."""
    reader = _open.take(path)
    try:
        yield reader
    except BaseException:
        reader.close()
        raise
    _open.put(path, reader)
