"""Demonstrations of RoboTwin's scripted expert, recorded in the simulator.

Shapes: T = steps, V = cameras, H W = pixels, A = 14 joints and actions
"""

from __future__ import annotations

import numpy as np

from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import Episode, PointCloud

from ..config import Robotwin
from ..recorded.episode_reader import MARK
from .simulator import Simulator, View

TRIES = 10  # scenes that may not come to rest, one after another
AWAY = 100_000_000  # from a seed to the one that stands in for it: nobody else counts that far


def demonstrate(simulator: Simulator, config: Robotwin, seed: int) -> Episode | None:
    """Return what the expert saw and did on a seed; None when it failed.

    Actions are the next frame's joints, as in recorded data, so the last frame is left out.
    """
    recorded = simulator.record(seed)
    if recorded is None:
        return None
    views = list(recorded)
    if len(views) < 2:
        return None
    joints_TA = np.stack([view.joints for view in views])
    repeats_T = np.zeros(len(views) - 1, np.float32)
    repeats_T[1:] = (joints_TA[1:-1] == joints_TA[:-2]).all(axis=1)
    rows_T = np.arange(len(views) - 1)
    ends_T = rows_T + 1
    if config.duplicates == "drop":  # as ``motion.motion_of``
        rows_T = np.flatnonzero(repeats_T == 0)
        ends_T = np.append(rows_T[1:], len(views) - 1)
    kept = [views[row] for row in rows_T]
    return Episode(
        name=f"episode_{seed:07d}",
        task=config.task,
        instruction=config.task.replace("_", " "),
        cameras=config.views,
        rgb=np.stack([view.rgb for view in kept]),
        joints=joints_TA[rows_T],
        actions=joints_TA[ends_T],
        clouds=_clouds(config, kept, seed),
        state={MARK: repeats_T[rows_T]} if config.duplicates == "mark" else {},
    )


def scene(simulator: Simulator, config: Robotwin, seed: int) -> Episode:
    """Return the first frame of a seed's scene, with its cloud."""
    tries = map(simulator.scene, range(seed, seed + TRIES * AWAY, AWAY))
    view = next((view for view in tries if view is not None), None)
    if view is None:
        raise UserError(
            f"robotwin: none of {TRIES} scenes came to rest in place of that of seed {seed}; look"
            f" at task_config {config.task_config!r}, or set [collect] scenes = 0"
        )
    return Episode(
        name=f"scene_{seed:07d}",
        task=config.task,
        instruction=config.task.replace("_", " "),
        cameras=config.views,
        rgb=view.rgb[None],
        joints=None,
        actions=None,
        clouds=_clouds(config, [view], seed),
        state={MARK: np.zeros(1, np.float32)} if config.duplicates == "mark" else {},
    )


def _clouds(config: Robotwin, views: list[View], seed: int) -> list[PointCloud] | None:
    if config.clouds == "none":
        return None
    clouds = [view.cloud for view in views if view.cloud is not None]
    if len(clouds) < len(views):
        raise UserError(
            f"robotwin: the simulator gave no point cloud in {len(views) - len(clouds)} of"
            f" {len(views)} frames of seed {seed}; set clouds = 'none' to do without"
        )
    return clouds
