"""Observations of RoboTwin's environments as plain arrays.

Shapes: H W = pixels, P = points
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import actors

WRISTS = ("left_camera", "right_camera")
MILLIMETRES = 1000.0


def available(cameras: Any) -> tuple[str, ...]:
    """Return the names of a scene's cameras."""
    wrists = WRISTS if cameras.collect_wrist_camera else ()
    return (*cameras.static_camera_name, *wrists)


def keep(cameras: Any, wanted: tuple[str, ...], clouds: bool) -> None:
    """Let only the wanted cameras render, after the scene has drawn its random numbers.

    RoboTwin creates all of them first, because each draws from the generator that also places the
    objects.
    """
    if unknown := [name for name in wanted if name not in available(cameras)]:
        known = ", ".join(available(cameras))
        raise ValueError(f"camera {unknown[0]!r} is not in the scene; it has {known}")
    needed = {*wanted, "head_camera"} if clouds else set(wanted)
    pairs = zip(cameras.static_camera_name, cameras.static_camera_list, strict=True)
    kept = [(name, camera) for name, camera in pairs if name in needed]
    cameras.static_camera_name = [name for name, _ in kept]
    cameras.static_camera_list = [camera for _, camera in kept]
    names = cameras.static_camera_name
    cameras.head_camera_id = names.index("head_camera") if "head_camera" in names else None
    cameras.collect_wrist_camera = bool(needed & set(WRISTS))


def observation(env: Any, wanted: tuple[str, ...], clouds: bool, depth: bool) -> dict[str, Any]:
    """Return the current observation.

    ``rgb`` {camera: uint8 (H, W, 3)}; ``joints`` float64 (14,), left arm, left gripper, right arm,
    right gripper: drive targets, not measured positions; ``endpose`` float64 (2, 7) of the left and
    the right wrist, xyz metres and qw qx qy qz, world frame, or None; ``clouds`` float32 (P, 6),
    xyz metres and rgb 0..1, or None; ``depth`` {camera: float32 (H, W), metres, 0 unseen} or None;
    ``intrinsics`` {camera: float32 (3, 3)}; ``extrinsics`` {camera: float32 (3, 4)}, world to
    camera in OpenCV's axes; and the true state, see ``actors.state``.
    """
    env.data_type |= {"pointcloud": clouds, "depth": depth}  # RoboTwin reads it each time
    return plain(env.get_obs(), wanted) | actors.state(env)


def plain(observed: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    """Return one of RoboTwin's observations in the format of ``observation``."""
    views = {name: observed["observation"][name] for name in wanted}
    cloud = np.asarray(observed.get("pointcloud", []), np.float32)
    depth = {n: v["depth"] for n, v in views.items() if "depth" in v}
    return {
        "rgb": {name: np.ascontiguousarray(view["rgb"], np.uint8) for name, view in views.items()},
        "joints": np.asarray(observed["joint_action"]["vector"], np.float64),
        "endpose": endpose(observed.get("endpose") or {}),
        "clouds": cloud if cloud.size else None,
        "depth": {n: np.asarray(d / MILLIMETRES, np.float32) for n, d in depth.items()} or None,
        "intrinsics": {n: np.asarray(v["intrinsic_cv"], np.float32) for n, v in views.items()},
        "extrinsics": {n: np.asarray(v["extrinsic_cv"], np.float32)[:3] for n, v in views.items()},
    }


def hands(env: Any) -> np.ndarray[Any, Any]:
    """Return the poses of both wrists, float64 (2, 7), without rendering."""
    return np.asarray([env.get_arm_pose(side) for side in ("left", "right")], np.float64)


def endpose(poses: dict[str, Any]) -> np.ndarray[Any, Any] | None:
    """Return the poses of both wrists (2, 7); None if RoboTwin's observation has none."""
    if "left_endpose" not in poses:
        return None
    return np.asarray([poses["left_endpose"], poses["right_endpose"]], np.float64)
