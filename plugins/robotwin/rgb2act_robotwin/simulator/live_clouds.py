"""Point clouds of the simulator's observations, as recorded episodes have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import pointclouds
from rgb2act_core.interfaces import PointCloud

from ..config import IMAGES, Robotwin
from ..evaluation.deploy_files.rgb2act_images import as_recorded
from ..recorded import cameras
from .reply_arrays import point_cloud
from .worker_client import Reply

MAX_DEPTH = 65_535  # millimetres, of uint16


def observed_cloud(observation: Reply, config: Robotwin) -> PointCloud | None:
    """Return the point cloud of an observation, from depth if it has depth images."""
    cloud = None
    if observation.has("depth"):
        cloud = cloud_from_depth(observation, config)
    elif observation.has("clouds"):
        cloud = point_cloud(observation)
    return pointclouds.without_colours(cloud) if cloud is not None and config.grey else cloud


def cloud_from_depth(observation: Reply, config: Robotwin) -> PointCloud:
    """Return the cloud as it is computed from recorded depth and compressed images.

    Cameras, crop box and rounding are the same.
    """
    names, size = config.depth_views, IMAGES[config.camera]
    depth, rgb, intrinsics, extrinsics = (
        observation.part(part) for part in ("depth", "rgb", "intrinsics", "extrinsics")
    )
    parts = [
        cameras.view_cloud(
            millimetres(depth.array(name, "float32", size)).astype(np.float64)
            * cameras.MILLIMETRES,
            as_recorded(rgb.array(name, "uint8", (*size, 3))[None], config.live_jpeg)[0],
            intrinsics.array(name, "float32", (3, 3)).astype(np.float64),
            extrinsics.array(name, "float32", (3, 4)).astype(np.float64),
            source=f"depth of the simulator's {name}",
        )
        for name in names
    ]
    source = f"depth of the simulator's {', '.join(names)}"
    return pointclouds.join_views(
        parts, config.crop_low, config.crop_high, config.cloud_points, source=source
    )


def millimetres(depth_HW: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return depth in metres as it is stored: millimetres, 0 where nothing was measured."""
    return np.clip(np.rint(depth_HW * 1000), 0, MAX_DEPTH).astype(np.uint16)
