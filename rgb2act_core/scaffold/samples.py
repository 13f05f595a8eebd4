"""Sample episodes of a new reader of recorded data.

Shapes: T = frames, V = cameras, H W = pixels, A = action dimensions
"""

from __future__ import annotations

from pathlib import Path

EPISODES, FRAMES, SIZE = 2, 6, 16


def write_samples(folder: Path) -> None:
    """Write two short episodes of random motion as NPZ files."""
    import numpy as np

    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(EPISODES):
        joints_TA = 0.5 + np.cumsum(draw.uniform(-0.05, 0.05, (FRAMES, 6)), axis=0)
        np.savez_compressed(
            folder / f"episode_{i}.npz",
            rgb=draw.integers(0, 256, (FRAMES, 2, SIZE, SIZE, 3), np.uint8),
            joints=joints_TA.astype(np.float32),
            actions=np.concatenate([joints_TA[1:], joints_TA[-1:]]).astype(np.float32),
        )
