"""What an environment of RoboTwin shows, as plain arrays.

Shapes: H W = pixels, P = points
"""

from __future__ import annotations

from typing import Any

import numpy as np

WRISTS = ("left_camera", "right_camera")
MILLIMETRES = 1000.0


def available(cameras: Any) -> tuple[str, ...]:
    """Return the names of a scene's cameras."""
    wrists = WRISTS if cameras.collect_wrist_camera else ()
    return (*cameras.static_camera_name, *wrists)


def keep(cameras: Any, wanted: tuple[str, ...], clouds: bool) -> None:
    """Let only some cameras take pictures, after the scene has drawn its random numbers.

    All are created first, since each draws from the generator that places the objects too.
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


def observation(env: Any, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Return what the environment shows now.

    ``rgb`` {camera: uint8 (H, W, 3)}; ``joints`` float64 (14,), left arm, left gripper, right arm,
    right gripper: drive targets, not measured positions; ``endpose`` float64 (2, 7) of the left and
    the right wrist, xyz metres and qw qx qy qz, world frame, or None; ``clouds`` float32 (P, 6),
    xyz metres and rgb 0..1, or None; ``depth`` {camera: float32 (H, W), metres, 0 unseen} or None;
    ``intrinsics`` {camera: float32 (3, 3)}; ``extrinsics`` {camera: float32 (3, 4)}, world to
    camera in OpenCV's axes.
    """
    return plain(env.get_obs(), wanted)


def plain(seen: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    """Return an observation of RoboTwin's in the shape that ``observation`` tells."""
    views = {name: seen["observation"][name] for name in wanted}
    cloud = np.asarray(seen.get("pointcloud", []), np.float32)
    depth = {n: v["depth"] for n, v in views.items() if "depth" in v}
    return {
        "rgb": {name: np.ascontiguousarray(view["rgb"], np.uint8) for name, view in views.items()},
        "joints": np.asarray(seen["joint_action"]["vector"], np.float64),
        "endpose": endpose(seen.get("endpose") or {}),
        "clouds": cloud if cloud.size else None,
        "depth": {n: np.asarray(d / MILLIMETRES, np.float32) for n, d in depth.items()} or None,
        "intrinsics": {n: np.asarray(v["intrinsic_cv"], np.float32) for n, v in views.items()},
        "extrinsics": {n: np.asarray(v["extrinsic_cv"], np.float32)[:3] for n, v in views.items()},
    }


def hands(env: Any) -> np.ndarray[Any, Any]:
    """Return both wrists' poses float64 (2, 7) as observations hold them; takes no picture."""
    return np.asarray([env.get_arm_pose(side) for side in ("left", "right")], np.float64)


def endpose(seen: dict[str, Any]) -> np.ndarray[Any, Any] | None:
    """Return both wrists' poses (2, 7); None where RoboTwin gives none."""
    if "left_endpose" not in seen:
        return None
    return np.asarray([seen["left_endpose"], seen["right_endpose"]], np.float64)
