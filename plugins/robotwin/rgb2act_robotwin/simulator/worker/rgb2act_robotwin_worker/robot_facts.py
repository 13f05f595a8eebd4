"""Facts about a robot: its joint limits, and the size of its cameras' images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ARM = 6


def image(installation: Any, args: Mapping[str, Any], names: tuple[str, ...]) -> list[int]:
    """Return height and width of the images of some cameras."""
    kinds = installation.config("_camera_config")
    static = args["left_embodiment_config"]["static_camera_list"]
    types = {each["name"]: each["type"] for each in static}
    types["head_camera"] = args["camera"]["head_camera_type"]
    wrist = args["camera"]["wrist_camera_type"]
    sizes = [(kinds[types.get(n, wrist)]["h"], kinds[types.get(n, wrist)]["w"]) for n in names]
    if len(set(sizes)) > 1:
        raise ValueError(f"cameras {names} have sizes {sizes}; choose cameras of one size")
    return list(sizes[0]) if sizes else [0, 0]


def limits(robot: Any) -> dict[str, Any]:
    """Return the joint limits ``low`` and ``high`` (14,): radians, grippers 0 to 1."""
    bounds: list[Any] = []
    for side in ("left", "right"):
        joints = getattr(robot, f"{side}_arm_joints")
        if len(joints) != ARM:
            raise ValueError(f"the {side} arm has {len(joints)} joints, not {ARM}")
        bounds += [np.asarray(joint.get_limits(), np.float64)[0] for joint in joints]
        bounds.append(np.array([0.0, 1.0]))
    low, high = np.stack(bounds, axis=1)
    return {"low": low, "high": high}
