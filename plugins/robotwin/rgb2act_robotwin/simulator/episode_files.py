"""The files of a recorded episode, in the layout of RoboTwin's released data sets.

Shapes: T = frames, H W = pixels
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import write_mp4

from ..config import IMAGES, Robotwin
from ..evaluation.deploy_files.rgb2act_images import encode
from ..recorded import jpeg
from ..recorded.true_states import GROUP, NAMES, key_of_state
from .live_clouds import millimetres
from .reply_arrays import true_state
from .simulator import WIDTH
from .worker_client import Reply

VIDEO_HZ = 30.0  # frame rate of RoboTwin's videos, independent of the frame rate of its episodes
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera axes in OpenCV's
FAST: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}

Shot = dict[str, Any]


def frame_of(reply: Reply, config: Robotwin) -> Shot:
    """Return one frame in the form that is stored, with images as JPEG."""
    observation, size = reply.part("observation"), IMAGES[config.camera]
    rgb, intrinsics, extrinsics = (
        observation.part(name) for name in ("rgb", "intrinsics", "extrinsics")
    )
    cameras = recorded_cameras(config)
    images = {c: rgb.array(c, "uint8", (*size, 3)) for c in cameras}
    return {
        "joints": observation.array("joints", "float64", (WIDTH,)),
        "hands": observation.array("endpose", "float64", (2, 7)),
        "cloud": observation.array("clouds", "float32", (None, 6))
        if observation.has("clouds")
        else None,
        "jpeg": {c: encode(image) for c, image in images.items()},
        "intrinsics": {c: intrinsics.array(c, "float32", (3, 3)) for c in cameras},
        "extrinsics": {c: extrinsics.array(c, "float32", (3, 4)) for c in cameras},
        "state": true_state(observation),
        "depth": {
            c: millimetres(observation.part("depth").array(c, "float32", size))
            for c in depth_cameras(config)
        },
    }


def write_frames(
    file: h5py.File, shots: list[Shot], config: Robotwin, actors: tuple[str, ...]
) -> None:
    """Write the arrays of an episode; ``actors`` are the names of those in its true states."""
    joints_TA = np.stack([shot["joints"] for shot in shots])
    hands_T27 = np.stack([shot["hands"] for shot in shots])
    file["joint_action/vector"] = joints_TA
    for i, side in enumerate(("left", "right")):
        gripper_T = joints_TA[:, 7 * i + 6]
        file[f"joint_action/{side}_arm"] = joints_TA[:, 7 * i : 7 * i + 6]
        file[f"joint_action/{side}_gripper"] = gripper_T
        file[f"endpose/{side}_endpose"] = hands_T27[:, i]
        file[f"endpose/{side}_gripper"] = gripper_T
    for camera in recorded_cameras(config):
        world_T34 = np.stack([shot["extrinsics"][camera] for shot in shots])
        group = file.create_group(f"observation/{camera}")
        group["rgb"] = np.array([shot["jpeg"][camera] for shot in shots], "S")
        group["intrinsic_cv"] = np.stack([shot["intrinsics"][camera] for shot in shots])
        group["extrinsic_cv"] = world_T34
        group["cam2world_gl"] = np.stack([camera_to_world(world_34) for world_34 in world_T34])
        if camera in depth_cameras(config):
            depth_THW = np.stack([shot["depth"][camera] for shot in shots])
            group.create_dataset("depth", data=depth_THW, chunks=(1, *depth_THW.shape[1:]), **FAST)
    for name in NAMES:
        file[key_of_state(name)] = np.stack([shot["state"][name] for shot in shots])
    file[GROUP].attrs["names"] = list(actors)
    clouds = [shot["cloud"] for shot in shots]
    empty = np.zeros((len(shots), 0), np.float32)
    file["pointcloud"] = empty if any(cloud is None for cloud in clouds) else np.stack(clouds)


def depth_cameras(config: Robotwin) -> tuple[str, ...]:
    """Return the cameras whose depth is stored."""
    return config.depth_views if config.clouds == "depth" else ()


def recorded_cameras(config: Robotwin) -> tuple[str, ...]:
    """Return the cameras whose images are stored; clouds from depth need colours too."""
    return tuple(dict.fromkeys((*config.views, *depth_cameras(config))))


def camera_to_world(world_34: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pose (4, 4) of a camera in OpenGL's axes, given its extrinsics (3, 4)."""
    extrinsics_44 = np.vstack([world_34, [0, 0, 0, 1]]).astype(np.float64)
    return np.asarray(np.linalg.inv(extrinsics_44) @ OPENGL, np.float32)


def write_video(path: Path, shots: list[Shot], camera: str) -> None:
    """Write the images of one camera as a video."""
    frames = [jpeg.decode(shot["jpeg"][camera]) for shot in shots]
    write_mp4(path, np.stack(frames), VIDEO_HZ)
