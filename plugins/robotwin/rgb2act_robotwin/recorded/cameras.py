"""Depth and camera matrices in one convention, and point clouds from files or from depth.

Intrinsics (3, 3) are in pixels, with the corner of the first pixel at (0, 0), as in RoboTwin.
Extrinsics (3, 4) map world to camera, in metres, with OpenCV's axes: x right, y down, z forward.
Files store them like this (``extrinsic_cv``), or as camera to world with OpenGL's axes under
ambiguous names (``extrinsics_matrix``, ``extrinsic_matrix``). Depth is along the optical axis.

Shapes: T = frames, V = cameras, H W = pixels, P = points
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, pointclouds
from rgb2act_core.interfaces import PointCloud
from rgb2act_core.pointclouds import LazyClouds
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

from .images import StoredImages
from .layouts import Camera, Layout

MILLIMETRES = 0.001
TABLE = (0.0, 0.0, 0.74)  # world coordinates; in front of every fixed camera of RoboTwin
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # between OpenGL's and OpenCV's camera axes

Floats = NDArray[np.float64]


def depth(path: Path, camera: Camera, row: int) -> Floats:
    """Return the depth of one frame, float64 (H, W), in metres; 0 where there is no measurement."""
    key = _needed(path, camera.depth, camera, "depth")
    depth_HW = hdf5.read(path, key, row)
    if depth_HW.ndim == 3 and depth_HW.shape[-1] == 1:
        depth_HW = depth_HW[..., 0]
    if depth_HW.ndim != 2 or depth_HW.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: {key}: frame {row}: is {depth_HW.dtype} {depth_HW.shape}, expected"
            f" (H, W) in millimetres; {REMEDY}"
        )
    return depth_HW.astype(np.float64) * MILLIMETRES


def intrinsics(path: Path, camera: Camera, row: int) -> Floats:
    """Return the intrinsics (3, 3) of one frame, in pixels."""
    key = _needed(path, camera.intrinsics, camera, "intrinsics")
    return _matrix(path, key, row, ((3, 3),))


def extrinsics(path: Path, layout: Layout, name: str, row: int) -> Floats:
    """Return the extrinsics (3, 4) of one frame: world to camera, OpenCV's axes, metres.

    A (4, 4) matrix under an ambiguous name is read as camera to world with OpenGL's axes, which
    RoboTwin writes, unless only the other reading places the table in front of the camera.
    """
    camera = layout.cameras[name]
    key = _needed(path, camera.extrinsics, camera, "extrinsics")
    matrix = _matrix(path, key, row, ((3, 4), (4, 4)))
    if key.endswith("extrinsic_cv") or matrix.shape == (3, 4):
        return matrix[:3]
    if key.endswith("cam2world_gl") or not _inverted(path, layout):
        return _from_opengl(matrix)
    return matrix[:3]


def _from_opengl(camera_to_world_44: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.inv(camera_to_world_44 @ _FLIP)[:3], np.float64)
    except np.linalg.LinAlgError:
        raise UserError(f"extrinsics {camera_to_world_44.tolist()!r} are singular") from None


def _inverted(path: Path, layout: Layout) -> bool:
    """Return whether a file's (4, 4) matrices map world to camera, judged by what cameras see."""
    for camera in layout.cameras.values():
        if camera.extrinsics is None:
            continue
        matrix = _matrix(path, camera.extrinsics, 0, ((3, 4), (4, 4)))
        if matrix.shape == (4, 4):
            as_opengl, as_opencv = _sees_table(_from_opengl(matrix)), _sees_table(matrix[:3])
            if as_opengl != as_opencv:
                return as_opencv
    return False


def _sees_table(world_to_camera_34: Floats) -> bool:
    rotation_33, shift_3 = world_to_camera_34[:, :3], world_to_camera_34[:, 3]
    height = float((-rotation_33.T @ shift_3)[2])
    ahead = float((rotation_33 @ np.asarray(TABLE) + shift_3)[2])
    return height > 0 and ahead > 0


def _needed(path: Path, key: str | None, camera: Camera, what: str) -> str:
    if key is None:
        raise UserError(
            f"{path}: {camera.rgb.rpartition('/')[0]}: has no {what}; record it with"
            f" data_type.{what if what == 'depth' else 'rgb'} on, or set clouds = 'none'"
        )
    return key


def _matrix(path: Path, key: str, row: int, shapes: tuple[tuple[int, int], ...]) -> Floats:
    constant = len(hdf5.array_info(path, key).shape) == 2  # one matrix for all frames
    matrix = hdf5.read(path, key, None if constant else row)
    if matrix.shape not in shapes or matrix.dtype.kind not in "fiu":
        wanted = " or ".join(map(str, shapes))
        raise UserError(
            f"{path}: {key}: frame {row}: is {matrix.shape}, expected {wanted}; {REMEDY}"
        )
    if not np.isfinite(matrix).all():
        raise UserError(f"{path}: {key}: frame {row}: contains NaN or infinity; {REMEDY}")
    return matrix.astype(np.float64)


@attrs.frozen(eq=False)
class StoredDepth:
    """The depth images of one camera."""

    path: Path
    camera: Camera
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Floats:
        return depth(self.path, self.camera, int(self.rows[index]))


def stored_depth(path: Path, layout: Layout, rows: NDArray[np.int64]) -> dict[str, StoredDepth]:
    """Return the depth images of all cameras that have them, by the cameras' names."""
    return {
        name: StoredDepth(path, camera, rows)
        for name, camera in layout.cameras.items()
        if camera.depth and hdf5.array_info(path, camera.depth).rows > rows.max(initial=-1)
    }


@attrs.frozen(eq=False)
class StoredClouds(LazyClouds):
    """Point clouds stored as rows x y z r g b; zero padding is dropped."""

    path: Path
    key: str
    rows: NDArray[np.int64]
    grey: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, index: int) -> PointCloud:
        """Return the cloud of one frame, in metres, in the world frame."""
        row = int(self.rows[index])
        source = f"{self.path}: {self.key}: frame {row}"
        points = hdf5.read(self.path, self.key, row)
        if self.grey:
            points = points[:, :3]
        found, _ = pointclouds.from_rows(points, source=source, padded=True)
        return pointclouds.check_not_empty(found, source=source)


@attrs.frozen(eq=False, kw_only=True)
class DepthClouds(LazyClouds):
    """Point clouds from the depth of several cameras: merged, cropped, subsampled."""

    path: Path
    layout: Layout
    names: tuple[str, ...]  # camera names
    rows: NDArray[np.int64]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    points: int  # 0 keeps all
    grey: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, index: int) -> PointCloud:
        """Return the cloud of one frame, in metres, in the world frame."""
        row = int(self.rows[index])
        parts = [self._view(name, row) for name in self.names]
        source = f"{self.path}: depth of {', '.join(self.names)}: frame {row}"
        joined = pointclouds.join_views(parts, self.low, self.high, self.points, source=source)
        return pointclouds.without_colours(joined) if self.grey else joined

    def _view(self, name: str, row: int) -> PointCloud:
        camera = self.layout.cameras[name]
        depth_HW = depth(self.path, camera, row)
        height, width = depth_HW.shape
        image = StoredImages(self.path, (camera.rgb,), np.array([row]), (height, width))
        return view_cloud(
            depth_HW,
            image[0][0],
            intrinsics(self.path, camera, row),
            extrinsics(self.path, self.layout, name, row),
            source=f"{self.path}: {camera.depth}: frame {row}",
        )


def view_cloud(
    depth_HW: Floats,
    rgb_HW3: NDArray[np.uint8],
    intrinsics_33: Floats,
    extrinsics_34: Floats,
    *,
    source: str,
) -> PointCloud:
    """Return the points of one camera's depth in metres, in the world frame."""
    centred_33 = intrinsics_33.copy()
    centred_33[:2, 2] -= 0.5  # ``from_depth`` has the centre of the first pixel at (0, 0)
    return pointclouds.from_depth(depth_HW, rgb_HW3, centred_33, extrinsics_34, source=source)


def read_clouds(
    path: Path, key: str, rows: NDArray[np.int64], *, grey: bool = False
) -> NDArray[Any]:
    """Return stored clouds (T, P, 6), with ``grey`` (T, P, 3), of some rows.

    Raises UserError if one has no points or wrong colours.
    """
    shape, count = hdf5.array_info(path, key).shape, int(rows.max(initial=-1)) + 1
    if len(shape) != 3 or shape[2] not in (3, 6) or shape[0] < count:
        raise UserError(
            f"{path}: {key}: is {shape}, expected ({count} or more, points, 6); {REMEDY}"
        )
    clouds = hdf5.read(path, key, slice(0, count))[rows]
    clouds = clouds[..., :3] if grey else clouds
    points_TP = np.isfinite(clouds[..., :3]).all(2) & (clouds != 0).any(2)
    empty = rows[~points_TP.any(axis=1)]
    if len(empty):
        raise UserError(
            f"{path}: {key}: frame {empty[0]}: has no points ({len(empty)} such frames); {REMEDY},"
            " or set clouds = 'none'"
        )
    if clouds.dtype.kind == "f" and clouds.shape[2] == 6:
        beyond_TP = points_TP & (clouds[..., 3:] > 1).any(2)
        if beyond_TP.any():
            frame, point = np.argwhere(beyond_TP)[0]
            raise UserError(
                f"{path}: {key}: frame {rows[frame]}: colours are up to"
                f" {clouds[frame, point, 3:].max():g}, expected floats from 0 to 1; divide them by"
                " 255, or set cloud_colours = 'grey'"
            )
    return clouds
