"""Pictures for people: an episode filmed at any size, and many frames on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .config import Tabletop
from .environment import TabletopEnv


def film(
    config: Tabletop,
    seed: int,
    actions: NDArray[np.float32],  # (T, A), as they were executed
    camera: str = "front",
    size: tuple[int, int] = (240, 320),
) -> NDArray[np.uint8]:
    """Return the frames (T + 1, H, W, 3) of an episode, simulated again from seed and actions.

    An episode acted without rendering can so be filmed later, larger, and with either renderer.
    """
    env = TabletopEnv(config, render_mode="rgb_array", render_camera=camera, render_size=size)
    env.observe = False
    env.reset(seed=seed)
    frames = [env.picture(camera, *size)]
    for action_A in actions:
        env.step(action_A)
        frames.append(env.picture(camera, *size))
    return np.stack(frames)


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], columns: int = 8, gap: int = 2
) -> NDArray[np.uint8]:
    """Return frames (H, W, 3) of one size side by side, row by row, on white."""
    if not len(frames):
        raise ValueError("contact_sheet: there are no frames")
    height, width, _ = frames[0].shape
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for index, frame in enumerate(frames):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        sheet[y : y + height, x : x + width] = frame
    return sheet
