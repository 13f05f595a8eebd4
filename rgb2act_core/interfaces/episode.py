"""One recorded episode or scene.

Shapes: H W = image height and width in pixels, T = steps of an episode, V = cameras, P = points,
A = action dimensions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@attrs.frozen(eq=False, kw_only=True)
class PointCloud:
    """One coloured point cloud."""

    xyz: NDArray[np.float32]
    """Points (P, 3) in metres, in the world frame."""
    rgb: NDArray[np.uint8]
    """Colours (P, 3) in RGB order, 0 to 255."""


class Frames(Protocol):
    """The images of an episode: an array, or an object that reads images when it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (T, V, H, W, 3)."""

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return images (..., V, H, W, 3) in RGB order; ``index`` is an integer or a slice."""


class DepthFrames(Protocol):
    """The depth images of one camera: an array, or an object that reads them when it is indexed."""

    def __len__(self) -> int:
        """Return the number of frames T."""

    def __getitem__(self, index: int, /) -> NDArray[np.floating[Any]]:
        """Return the depth (H, W) of one frame in metres; 0 where nothing was measured."""


@attrs.frozen(eq=False, kw_only=True)
class Episode:
    """One recorded episode, or one scene: a single frame without joints and actions.

    ``rgb`` and ``clouds`` may read their data from disk when they are indexed.
    """

    name: str
    """Unique within a data set."""
    task: str
    instruction: str
    """The task in natural language."""
    cameras: tuple[str, ...]
    """Names of the V cameras."""
    rgb: Frames
    """Images, uint8 (T, V, H, W, 3)."""
    joints: NDArray[np.float32] | None
    """Measured joint positions (T, A): radians; grippers from 0 closed to 1 open."""
    actions: NDArray[np.float32] | None
    """Commanded joint positions (T, A) in the same units. ``actions[t]`` is the command after
    frame t was observed."""
    clouds: Sequence[PointCloud] | None
    """One point cloud per frame."""
    state: Mapping[str, NDArray[np.float32]] = attrs.field(factory=dict)
    """Ground-truth state by name, each (T, ...), for probes and ``condition = "oracle"``."""
    digest: str = ""
    """Digest of the content; empty until the episode is stored."""
    seed: int | None = None
    """Seed that the environment was reset with, if known. Replay needs it."""
    times: NDArray[np.float64] | None = None
    """Time of each frame (T,) in seconds, if it was recorded. Only the checks of recorded data read
    it; it is not stored."""
    depth: Mapping[str, DepthFrames] = attrs.field(factory=dict)
    """Depth images by the name of their camera, which need not be one of ``cameras``. Only
    ``rgb2act view`` reads them; they are not stored."""
