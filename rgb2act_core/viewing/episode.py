"""Log a recorded episode: cameras, depth, point clouds, joints, actions and true states.

Shapes: T = steps, V = cameras, A = actions, X = positions
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..interfaces import Episode
from .recording import HAND_RADIUS, Recording, add_layout

MOST_POINTS = 20_000  # logged of each point cloud


def log_episode(
    recording: Recording, episode: Episode, root: str = "episode", names: Sequence[str] = ()
) -> None:
    """Log every frame of an episode below ``root``; ``names`` are those of its actions.

    States whose last axis has three values are positions in metres and become points.
    """
    joints = joint_names(episode, names)
    recording.text(f"{root}/text", f"# {episode.name}\n\n{episode.task}: {episode.instruction}")
    for t in range(episode.rgb.shape[0]):
        recording.at(t)
        log_frame(recording, episode, t, root)
        for what, array in (("observed", episode.joints), ("command", episode.actions)):
            if array is not None:
                for name, value in zip(joints, array[t], strict=True):
                    recording.number(f"{root}/joint/{name}/{what}", value)
    views = [*episode.cameras, *(f"{name}_depth" for name in episode.depth)]
    has_points = any(np.shape(array)[-1:] == (3,) for array in episode.state.values())
    world = episode.clouds is not None or has_points
    add_layout(recording, root, views, joints, world=world)


def log_frame(recording: Recording, episode: Episode, t: int, root: str) -> None:
    """Log the images, the depth, the point cloud and the true states of one frame."""
    images = episode.rgb[t]
    for v, camera in enumerate(episode.cameras):
        recording.image(f"{root}/camera/{camera}", images[v])
    for camera, depth in episode.depth.items():
        recording.depth(f"{root}/camera/{camera}_depth", depth[t])
    if episode.clouds is not None:
        cloud = episode.clouds[t]
        every = max(1, -(-len(cloud.xyz) // MOST_POINTS))
        recording.points(f"{root}/world/cloud", cloud.xyz[::every], cloud.rgb[::every])
    for name, values in episode.state.items():
        value = np.asarray(values[t], np.float32)
        if value.shape[-1:] == (3,):
            recording.points(f"{root}/world/{name}", value.reshape(-1, 3), radius=HAND_RADIUS)
        else:
            for i, number in enumerate(value.reshape(-1)):
                recording.number(f"{root}/state/{name}/{i}", float(number))


def joint_names(episode: Episode, names: Sequence[str]) -> list[str]:
    """Return the names of the action dimensions: the given ones if they fit, else numbers."""
    array = episode.actions if episode.actions is not None else episode.joints
    width = 0 if array is None else array.shape[1]
    return list(names) if len(names) == width else [f"{i:02d}" for i in range(width)]
