"""The images of an episode, decoded on access.

Shapes: T = kept frames, V = cameras, H W = pixels
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core.recordings import resized

from .stored_images import ImageClip
from .videos import VideoClip

Clip = VideoClip | ImageClip


@attrs.frozen(eq=False, kw_only=True)
class RecordedFrames:
    """Frames of all cameras; ``rows[t]`` is the recorded frame of kept frame t."""

    clips: tuple[Clip, ...]
    rows: NDArray[np.int64]  # (T,)
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (T, V, H, W, 3)."""
        return (len(self.rows), len(self.clips), *self.size, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return uint8 frames of an index, a slice or an array of indices."""
        rows = self.rows[index]
        wanted, places = np.unique(np.atleast_1d(rows), return_inverse=True)
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for v, clip in enumerate(self.clips):
            for t, image in enumerate(clip.frames(wanted)):
                out[t, v] = resized(image, self.size)
        ordered = out if np.array_equal(places, np.arange(len(out))) else out[places]
        return ordered if np.ndim(rows) else ordered[0]


def sizes_of(names: Iterable[str], clips: Iterable[Clip]) -> dict[str, tuple[int, int]]:
    """Return the image size of each camera."""
    return {name: clip.size for name, clip in zip(names, clips, strict=True)}
