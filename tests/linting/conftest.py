"""Sound synthetic recordings.

Shapes: T = frames of an episode, A = 14 action dimensions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rgb2act_core.interfaces import EnvironmentInfo, Episode, PointCloud

NAMES = tuple(
    f"{side}_{name}"
    for side in ("left", "right")
    for name in (*(f"joint{i}" for i in range(6)), "gripper")
)
INFO = EnvironmentInfo(
    task="synthetic",
    cameras=("head",),
    image=(8, 8),
    action_names=NAMES,
    control_hz=10.0,
    max_steps=200,
    demonstrates=False,
)


def sound_episode(rng: np.random.Generator, number: int, frames: int = 60) -> Episode:
    """Return an episode of smooth motions; actions are the joints of the next frame, nearly."""
    steps = np.arange(frames + 1)[:, None] / 10
    speed_A = rng.uniform(0.05, 0.3, 14)
    chain_TA = rng.uniform(0.3, 1.5, 14) * np.sin(
        2 * np.pi * speed_A * steps + rng.uniform(0, 2 * np.pi, 14)
    )
    chain_TA += rng.uniform(-0.5, 0.5, 14)
    chain_TA[:, 6::7] = 0.5 + 0.5 * np.sign(np.sin(0.7 * steps + number))
    noise_TA = rng.normal(0, 0.002, (frames, 14))
    noise_TA[:, 6::7] = 0
    images = rng.integers(30, 220, (frames, 1, 8, 8, 3), dtype=np.uint8)
    return Episode(
        name=f"e{number}",
        task="synthetic",
        instruction="",
        cameras=("head",),
        rgb=images,
        joints=chain_TA[:-1].astype(np.float32),
        actions=(chain_TA[1:] + noise_TA).astype(np.float32),
        clouds=[
            PointCloud(
                xyz=rng.uniform(-0.5, 0.5, (16, 3)).astype(np.float32),
                rgb=rng.integers(0, 255, (16, 3), dtype=np.uint8),
            )
            for _ in range(frames)
        ],
    )


@pytest.fixture
def sound() -> Callable[..., list[Episode]]:
    """Return a function that makes sound episodes of a seed."""

    def make(seed: int = 0, count: int = 4, **options: Any) -> list[Episode]:
        rng = np.random.default_rng(seed)
        return [sound_episode(rng, k, **options) for k in range(count)]

    return make


@pytest.fixture
def info() -> EnvironmentInfo:
    """Return the environment of the synthetic episodes."""
    return INFO
