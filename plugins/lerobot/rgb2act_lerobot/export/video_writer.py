"""Write the frames of a camera, episode after episode, into video files.

Shapes: H W = pixels
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

Codec = Literal["av1", "h264"]
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "av1": ("libsvtav1", {"preset": "12"}),
    "h264": ("libx264", {"preset": "medium"}),
}
GOP = 2  # every second frame is a key frame, for fast access to single frames
FILE_MB = 200  # from this size on, the next episode begins a new file


class VideoWriter:
    """The video files of one camera."""

    def __init__(self, root: Path, template: str, key: str, codec: str, crf: int, fps: float):
        self.root, self.template, self.key = root, template, key
        self.codec, self.crf = codec, crf
        self.rate = Fraction(fps).limit_denominator(1000)
        self.file = -1
        self._container: Any = None
        self._stream: Any = None
        self._frames = self._bytes = 0  # in the open file
        self._path = root

    def begin_episode(self, size: tuple[int, int]) -> dict[str, Any]:
        """Return the file and the time at which the next episode begins."""
        if self._container is not None and self._bytes >= FILE_MB * 10**6:
            self.close()
        if self._container is None:
            self._open(size)
        self._first = True
        return {
            "chunk_index": self.file // 1000,
            "file_index": self.file % 1000,
            "from_timestamp": float(self._frames / self.rate),
        }

    def end_episode(self) -> float:
        """Return the time at which the episode ends in its file."""
        return float(self._frames / self.rate)

    def add(self, image_HW3: NDArray[np.uint8]) -> None:
        """Append a frame."""
        colours = av.VideoFrame.from_ndarray(even(image_HW3), format="rgb24")
        frame = colours.reformat(format="yuv420p", interpolation="AREA")  # exact means of 2x2
        frame.pts, frame.time_base = self._frames, 1 / self.rate
        if self._first:  # an episode can be read without the one before it
            frame.pict_type = PictureType.I
        self._first = False
        self._frames += 1
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the open file."""
        if self._container is not None:
            self._mux(self._stream.encode())
            self._container.close()
            self._container = None

    def abort(self) -> None:
        """Close the open file, which stays incomplete."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _mux(self, packets: list[Any]) -> None:
        self._bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)

    def _open(self, size: tuple[int, int]) -> None:
        self.file, self._frames, self._bytes = self.file + 1, 0, 0
        self._path = self.root / self.template.format(
            video_key=self.key, chunk_index=self.file // 1000, file_index=self.file % 1000
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("SVT_LOG", "1")  # errors only
        encoder, options = ENCODERS[self.codec]
        self._container = av.open(str(self._path), "w", format="mp4")
        self._stream = self._container.add_stream(
            encoder, rate=self.rate, options={**options, "crf": str(self.crf), "g": str(GOP)}
        )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = 1 / self.rate


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return a size whose sides are even, as the pixel format of videos needs."""
    height, width = size
    return height + height % 2, width + width % 2


def even(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image with even sides; the last row or column is repeated."""
    height, width = image_HW3.shape[:2]
    if not (height % 2 or width % 2):
        return np.ascontiguousarray(image_HW3)
    return np.pad(image_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
