"""Conversion of XPolicyLab's observations and actions to those of rgb2act's client.

Shapes: V = cameras, H W = pixels, n = actions of one chunk
"""

from __future__ import annotations

from typing import Any

import numpy as np

CAMERAS = {  # keys are RoboTwin's names; its client sends only these
    "head_camera": "cam_head",
    "left_camera": "cam_left_wrist",
    "right_camera": "cam_right_wrist",
}
STATE = {  # key, width: the order of RoboTwin's joint vector
    "left_arm_joint_state": 6,
    "left_ee_joint_state": 1,
    "right_arm_joint_state": 6,
    "right_ee_joint_state": 1,
}


def environment(observation: dict[str, Any]) -> int:
    """Return the index of the environment of an observation."""
    return int(observation.get("env_idx") or 0)


def images(observation: dict[str, Any], cameras: tuple[str, ...]) -> list[Any]:
    """Return the images in the policy's order of cameras; raise ValueError if one is missing."""
    vision = observation.get("vision") or {}
    found = []
    for camera in cameras:
        view = vision.get(CAMERAS.get(camera, camera))
        if not isinstance(view, dict) or "color" not in view:
            raise ValueError(f"the policy needs {camera!r}, the observation has {sorted(vision)}")
        found.append(view["color"])
    return found


def joints(observation: dict[str, Any]) -> Any:
    """Return the joint vector float32 (14,); raise ValueError if a part is missing."""
    state = observation.get("state") or {}
    parts = []
    for key, width in STATE.items():
        part = np.asarray(state.get(key, ()), np.float32).reshape(-1)
        if len(part) != width:
            raise ValueError(f"state {key!r}: expected {width} numbers, got {len(part)}")
        parts.append(part)
    return np.concatenate(parts)


def actions(actions_n14: Any) -> list[dict[str, Any]]:
    """Return actions (n, 14) in XPolicyLab's format."""
    ends = np.cumsum(list(STATE.values()))
    return [
        dict(zip(STATE, np.split(np.asarray(row, np.float32), ends[:-1])))  # noqa: B905 Python 3.10
        for row in actions_n14
    ]
