"""Which frames a feature, an observation and a plan look at: one rule, offline and online.

Shapes: T = steps of an episode, K = frames looked back on, S = horizon
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def window_index(frames: NDArray[np.int64], size: int, stride: int = 1) -> NDArray[np.int64]:
    """Return (n, K) frame numbers, oldest first, of the windows that end at ``frames`` (n,).

    Frames of a window are ``stride`` steps apart. Before the first frame of an episode stands the
    first frame again.
    """
    window: NDArray[np.int64] = np.maximum(frames[:, None] + stride * np.arange(1 - size, 1), 0)
    return window


def plan_index(
    frames: NDArray[np.int64], horizon: int, length: NDArray[np.int64] | int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (n, S) steps of plans that begin at ``frames`` of episodes ``length`` steps long.

    ``actions[t]`` is the command given after frame t was seen, so a plan's step 0 is t itself.
    Steps behind the end repeat the last one and are marked False in the second array.
    """
    steps = frames[:, None] + np.arange(horizon)
    end = np.broadcast_to(length, frames.shape)[:, None]
    return np.minimum(steps, end - 1), steps < end
