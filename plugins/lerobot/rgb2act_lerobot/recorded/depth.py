"""Point clouds from depth cameras, with camera matrices from the spec.

Shapes: T = kept frames, H W = pixels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, did_you_mean, pointclouds
from rgb2act_core.interfaces import PointCloud
from rgb2act_core.recordings import resized

from ..config import DepthCamera, LeRobot
from .frames import Clip
from .schema import Schema

CODES = 4095  # largest code of a depth video
GREY = 127


@attrs.frozen(eq=False, kw_only=True)
class DepthView:
    """One depth camera of an episode, and the camera with its colours."""

    camera: DepthCamera
    info: Mapping[str, Any]  # of the feature: unit and scale of the stored values
    depth: Clip
    colours: Clip | None

    def cloud(self, row: int) -> PointCloud:
        """Return the points of a recorded frame, in metres, in the world frame."""
        metres_HW = metres(self.depth, self.info, row)
        size = (metres_HW.shape[0], metres_HW.shape[1])
        if self.colours is None:
            rgb_HW3 = np.full((*size, 3), GREY, np.uint8)
        else:
            (image_HW3,) = self.colours.frames(np.array([row]))
            rgb_HW3 = resized(image_HW3, size)
        fx, fy, cx, cy = self.camera.intrinsics
        return pointclouds.from_depth(
            metres_HW,
            rgb_HW3,
            np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            np.array(self.camera.pose),
            direction="camera_to_world",
            source=f"{self.depth.path}: {self.depth.label}: frame {row}",
        )


@attrs.frozen(eq=False, kw_only=True)
class RecordedDepth:
    """The depth images of one camera of an episode, opened when one is read."""

    info: Mapping[str, Any]  # of the feature: unit and scale of the stored values
    open: Callable[[], Clip]
    rows: NDArray[np.int64]  # (T,)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        return metres(self._clip, self.info, int(self.rows[index]))

    @cached_property
    def _clip(self) -> Clip:
        return self.open()


def metres(depth: Clip, info: Mapping[str, Any], row: int) -> NDArray[np.float64]:
    """Return the depth of a recorded frame (H, W) in metres; 0 where nothing was measured."""
    video = "video.depth_max" in info
    (values,) = depth.frames(np.array([row]), "gray12le" if video else "raw")
    values_HW = values.reshape(values.shape[:2])
    if video:
        return decoded(values_HW, info)
    scale = 0.001 if values_HW.dtype.kind in "iu" else 1.0
    scale = {"mm": 0.001, "m": 1.0}.get(str(info.get("depth_unit")), scale)
    return values_HW.astype(np.float64) * scale


def decoded(codes_HW: NDArray[Any], info: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return metres for the codes 0 to 4095 of a depth video; code 0 is no measurement."""
    low, high = float(info["video.depth_min"]), float(info["video.depth_max"])
    share_HW = codes_HW.astype(np.float64) / CODES
    if info.get("video.use_log"):
        shift = float(info.get("video.shift", 0.0))
        first, last = np.log(low + shift), np.log(high + shift)
        metres_HW = np.exp(share_HW * (last - first) + first) - shift
    else:
        metres_HW = share_HW * (high - low) + low
    return np.where(codes_HW > 0, metres_HW, 0.0)


@attrs.frozen(eq=False, kw_only=True)
class DepthClouds(pointclouds.LazyClouds):
    """Point clouds of all depth cameras: merged, cropped, subsampled."""

    views: tuple[DepthView, ...]
    rows: NDArray[np.int64]  # (T,)
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    points: int  # 0 keeps all

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, index: int) -> PointCloud:
        """Return the cloud of a kept frame."""
        row = int(self.rows[index])
        first = self.views[0].depth
        return pointclouds.join_views(
            [view.cloud(row) for view in self.views],
            self.low,
            self.high,
            self.points,
            source=f"{first.path}: {first.label}: frame {row}",
        )


def depth_keys(schema: Schema, config: LeRobot) -> tuple[str, ...]:
    """Return the key of each configured depth camera. Raises UserError for an unknown one."""
    known = schema.depth_cameras
    for camera in config.depth:
        if camera.camera not in known:
            raise UserError(
                f"lerobot.depth: there is no depth camera {camera.camera!r}"
                f"{did_you_mean(camera.camera, known)}; {schema.root} has"
                f" {', '.join(known) or 'none'}"
            )
        feature = schema.features[known[camera.camera]]
        names = ("video.depth_min", "video.depth_max", "video.shift")
        numbers = [feature.info.get(name, 0.0 if "shift" in name else None) for name in names]
        if feature.dtype == "video" and not all(isinstance(n, int | float) for n in numbers):
            raise UserError(
                f"{schema.root}/meta/info.json: {feature.key} lacks video.depth_min or"
                " video.depth_max; leave it out of [environment] depth"
            )
    return tuple(known[camera.camera] for camera in config.depth)
