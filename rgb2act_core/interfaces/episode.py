"""One recorded episode or scene, and the arrays it holds.

Shapes: H W = pixels, T = steps of an episode, V = cameras, P = points, A = action dimensions
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
    """Hold one coloured point cloud."""

    xyz: NDArray[np.float32]  # (P, 3), metres, world frame
    rgb: NDArray[np.uint8]  # (P, 3), RGB order


class Frames(Protocol):
    """Read frames by index or slice as uint8 numpy arrays (..., V, H, W, 3), RGB order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the whole shape, (T, V, H, W, 3)."""

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]: ...


@attrs.frozen(eq=False, kw_only=True)
class Episode:
    """Hold what was seen and done at each of T steps; heavy arrays may be read lazily.

    ``actions[t]`` is the command given after frame t was seen. Action-free scenes have neither
    joints nor actions. ``state`` is ground truth for probes and for ``condition = "oracle"``.
    """

    name: str  # unique within a data set
    task: str
    instruction: str
    cameras: tuple[str, ...]  # V names
    rgb: Frames  # uint8 (T, V, H, W, 3)
    joints: NDArray[np.float32] | None  # (T, A), radians, grippers 0 closed .. 1 open
    actions: NDArray[np.float32] | None  # (T, A), same units
    clouds: Sequence[PointCloud] | None  # T clouds
    state: Mapping[str, NDArray[np.float32]] = attrs.field(factory=dict)  # each (T, ...)
    digest: str = ""  # of all the content above; empty until stored
    seed: int | None = None  # that the environment began it from, where it is known; for replay
