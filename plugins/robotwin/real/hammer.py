"""A hammer made of two boxes, the object of RoboTwin's task beat_block_hammer.

RoboTwin reads poses on it (where to grasp it, what to hit with) from ``model_data0.json``.

Lengths are metres. The handle is along y; the head is at its upper end, along z.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from box_model import Box, pose, write_model

NAME = "020_hammer"  # RoboTwin's name of the object
GRASP_Y = -0.06  # position of the hand along the handle
HANDLE = Box("handle", (0.022, 0.18, 0.022), (0, -0.04, 0), (0.59, 0.35, 0.16))
HEAD = Box("head", (0.034, 0.032, 0.1), (0, 0.066, 0), (0.24, 0.24, 0.27))


def write_hammer(objects: Path) -> None:
    """Write the hammer in the folder of RoboTwin's objects."""
    write_model(objects / NAME, 0, (HANDLE, HEAD), model_data())


def model_data() -> dict[str, object]:
    """Return the poses on the hammer: two opposite grasps of the handle, and the struck face."""
    down = (0, 0, -1)  # direction of the hand
    face = (0, HEAD.centre[1], HEAD.size[2] / 2)
    return {
        "center": [0, 0, 0],
        "extents": [HEAD.size[0], 0.212, HEAD.size[2]],
        "scale": [1, 1, 1],
        "stable": False,  # else RoboTwin puts hammers among the clutter of other tasks
        "target_pose": [pose((0, 0, 0), np.eye(3))],
        "contact_points_pose": [
            pose((0, GRASP_Y, 0), np.stack([(0, side, 0), down, (-side, 0, 0)], axis=1))
            for side in (1, -1)
        ],
        "transform_matrix": pose((0, 0, 0), np.eye(3)),
        "functional_matrix": [pose(face, np.eye(3))],
        "contact_points_description": [],
        "contact_points_group": [[0, 1]],
        "contact_points_mask": [True],
        "target_point_description": [],
    }
