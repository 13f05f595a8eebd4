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
    """Return the index of the environment of an observation, 0 if it has none."""
    index = observation.get("env_idx")
    if index is None:
        return 0
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
        raise ValueError(f"env_idx: expected an integer, got {type(index).__name__}")
    return int(index)


def images(observation: dict[str, Any], cameras: tuple[str, ...]) -> list[Any]:
    """Return the images in the policy's order of cameras; raise ValueError if one is missing."""
    vision = _map(observation, "vision")
    found = []
    for camera in cameras:
        view = vision.get(CAMERAS.get(camera, camera))
        if not isinstance(view, dict) or "color" not in view:
            raise ValueError(f"the policy needs {camera!r}, the observation has {sorted(vision)}")
        found.append(view["color"])
    return found


def joints(observation: dict[str, Any]) -> Any:
    """Return the joint vector float32 (14,); raise ValueError if a part is missing."""
    state = _map(observation, "state")
    return np.concatenate([_numbers(state, key, width) for key, width in STATE.items()])


def _map(observation: dict[str, Any], name: str) -> dict[str, Any]:
    value = observation.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected a map, got {type(value).__name__}")
    return value


def _numbers(state: dict[str, Any], key: str, width: int) -> Any:
    """Return a part of the state, float32 (width,)."""
    value = state.get(key, ())
    wanted = f"state {key!r}: expected {width} numbers"
    if not isinstance(value, (list, tuple, int, float, np.ndarray, np.number)):
        raise ValueError(f"{wanted}, got {type(value).__name__}")
    try:
        part = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as err:  # such as lists of different lengths
        raise ValueError(f"{wanted}, got a list of other values") from err
    if part.size and part.dtype.kind not in "iuf":
        raise ValueError(f"{wanted}, got {part.dtype.name}")
    if part.size != width:
        raise ValueError(f"{wanted}, got {part.size}")
    with np.errstate(over="ignore"):  # infinity is refused with a better message
        return part.astype(np.float32).reshape(-1)


def actions(actions_n14: Any) -> list[dict[str, Any]]:
    """Return actions (n, 14) in XPolicyLab's format."""
    ends = np.cumsum(list(STATE.values()))
    return [
        dict(zip(STATE, np.split(np.asarray(row, np.float32), ends[:-1])))  # noqa: B905 Python 3.10
        for row in actions_n14
    ]
