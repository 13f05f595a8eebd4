"""Prepare point clouds for a teacher: from depth, cleaned, cropped, resampled, normalised.

Functions return new clouds, never change their input, and are deterministic.

Shapes: P = points, H W = pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..interfaces import PointCloud
from . import sampling

Vector = tuple[float, float, float]
GREY = 102  # 0.4 of 255: the colour that ULIP gives to points without colours
PLANES = 256  # random candidates for the ground plane
UPRIGHT = 0.9  # minimal cosine between the ground's normal and up (25 degrees)
SHARE = 0.1  # minimal fraction of points in the ground plane


def from_rows(rows: NDArray[Any], *, source: str, padded: bool = False) -> tuple[PointCloud, int]:
    """Return the cloud of rows x y z [r g b] and the number of points dropped.

    Colours are converted as in ``colours_to_uint8``; without them, points are grey. ``padded``
    removes rows of zeros, with which RoboTwin pads clouds; they are not counted. ``source`` names
    the cloud in messages.
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] not in (3, 6):
        raise UserError(f"{source}: points have shape {rows.shape}; use (P, 3) or (P, 6)")
    if padded:
        rows = rows[(rows != 0).any(axis=1)]
    return clean(rows[:, :3], rows[:, 3:] if rows.shape[1] == 6 else None, source=source)


def clean(
    xyz_P3: NDArray[Any], rgb_P3: NDArray[Any] | None, *, source: str
) -> tuple[PointCloud, int]:
    """Return the cloud of all finite points and the number of points dropped.

    A point with a NaN colour is dropped too. Without ``rgb_P3`` the points are grey. Colours are
    converted as in ``colours_to_uint8``. ``source`` names the cloud in messages.
    """
    if xyz_P3.ndim != 2 or xyz_P3.shape[1] != 3 or xyz_P3.dtype.kind not in "fiu":
        raise UserError(
            f"{source}: points are {xyz_P3.dtype} {xyz_P3.shape}; use numbers of shape (P, 3)"
        )
    if rgb_P3 is None:
        rgb_P3 = np.full(xyz_P3.shape, GREY, np.uint8)
    if rgb_P3.shape != xyz_P3.shape:
        raise UserError(
            f"{source}: points have shape {xyz_P3.shape}, but colours {rgb_P3.shape}; use one"
            " colour per point"
        )
    with np.errstate(over="ignore"):
        xyz_P3 = xyz_P3.astype(np.float32)  # doubles beyond the range of float32 become infinite
    good_P = np.isfinite(xyz_P3).all(axis=1)
    if rgb_P3.dtype.kind == "f":
        good_P &= ~np.isnan(rgb_P3).any(axis=1)
    rgb_P3 = colours_to_uint8(rgb_P3[good_P], source=source)
    return PointCloud(xyz=xyz_P3[good_P], rgb=rgb_P3), int((~good_P).sum())


def without_colours(cloud: PointCloud) -> PointCloud:
    """Return the cloud with all points grey, the colour of points without colours."""
    return attrs.evolve(cloud, rgb=np.full_like(cloud.rgb, GREY))


def colours_to_uint8(rgb_P3: NDArray[Any], *, source: str) -> NDArray[np.uint8]:
    """Convert colours to uint8 by their dtype, never by their largest value.

    uint8 and other integers are in 0..255, uint16 in 0..65535, floats in 0..1. Raises UserError
    for values outside this range.
    """
    kind = rgb_P3.dtype.newbyteorder("=")
    if kind == np.uint8:
        return rgb_P3.copy()
    if kind.kind not in "fiu":
        raise UserError(f"{source}: colours are {kind}; use uint8, uint16, or floats in 0..1")
    top = 1 if kind.kind == "f" else 65535 if kind == np.uint16 else 255
    wrong = np.argwhere(~((rgb_P3 >= 0) & (rgb_P3 <= top)))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"{source}: colour {'rgb'[column]} of point {row} is {rgb_P3[row, column].item()!r},"
            f" but {kind} colours must be in 0..{top}; convert them"
        )
    return np.rint(rgb_P3.astype(np.float64) * (255 / top)).astype(np.uint8)


def check_not_empty(cloud: PointCloud, *, source: str) -> PointCloud:
    """Return the cloud; raise UserError, which names ``source``, if it has no points."""
    if not len(cloud.xyz):
        raise UserError(f"{source}: the cloud has no points; remove the frame or widen the crop")
    return cloud


def select(cloud: PointCloud, which: Any) -> PointCloud:
    """Return the points chosen by indices, a slice or a boolean mask."""
    return PointCloud(xyz=cloud.xyz[which], rgb=cloud.rgb[which])


def merge(clouds: Sequence[PointCloud]) -> PointCloud:
    """Return one cloud with the points of all clouds, such as those of several cameras."""
    return PointCloud(
        xyz=np.concatenate([np.zeros((0, 3), np.float32), *(cloud.xyz for cloud in clouds)]),
        rgb=np.concatenate([np.zeros((0, 3), np.uint8), *(cloud.rgb for cloud in clouds)]),
    )


def from_depth(
    depth_HW: NDArray[Any],
    rgb_HW3: NDArray[np.uint8],
    intrinsics_33: NDArray[Any],
    extrinsics: NDArray[Any],
    *,
    scale: float = 1.0,
    direction: Literal["world_to_camera", "camera_to_world"] = "world_to_camera",
    axes: Literal["opencv", "opengl"] = "opencv",
    source: str = "depth",
) -> PointCloud:
    """Return the points of a depth image in the world frame, row by row.

    Args:
        depth_HW: depth along the optical axis. Pixels with zero, negative or non-finite depth are
            skipped. The centre of the first pixel is at (0, 0).
        rgb_HW3: colours of the pixels.
        intrinsics_33: camera matrix in pixels.
        extrinsics: (3, 4) or (4, 4) pose with a translation in metres.
        scale: factor from depth to metres, such as 0.001 for millimetres.
        direction: direction of the transform in ``extrinsics``.
        axes: camera axes. OpenCV cameras look along +z with y down, OpenGL cameras along -z with
            y up.
        source: name of the image in messages.

    Raises UserError if shapes or matrices are invalid.
    """
    depth_HW, rgb_HW3 = np.asarray(depth_HW), np.asarray(rgb_HW3)
    if depth_HW.ndim != 2 or rgb_HW3.shape != (*depth_HW.shape, 3) or rgb_HW3.dtype != np.uint8:
        raise UserError(
            f"{source}: depth has shape {depth_HW.shape}, the image {rgb_HW3.dtype}"
            f" {rgb_HW3.shape}; use (H, W) and uint8 (H, W, 3)"
        )
    rotation_33, shift_3 = _pose(np.asarray(extrinsics, np.float64), direction, source)
    z_HW = depth_HW.astype(np.float64) * scale
    valid_HW = np.isfinite(z_HW) & (z_HW > 0)
    v_P, u_P = np.nonzero(valid_HW)
    pixels_3P = np.stack([u_P, v_P, np.ones(len(u_P))])
    camera_3P = _inverse(np.asarray(intrinsics_33, np.float64), source) @ pixels_3P * z_HW[valid_HW]
    if axes == "opengl":
        camera_3P[1:] *= -1
    world_P3 = (rotation_33 @ camera_3P).T + shift_3
    return PointCloud(xyz=world_P3.astype(np.float32), rgb=rgb_HW3[valid_HW])


def crop(cloud: PointCloud, low: Vector, high: Vector) -> PointCloud:
    """Return the points in the box from ``low`` to ``high`` (metres, world frame, inclusive)."""
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise UserError(
            f"crop: {low!r} is not below {high!r}; give the lower corner of the box first"
        )
    low_3, high_3 = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return select(cloud, ((cloud.xyz >= low_3) & (cloud.xyz <= high_3)).all(axis=1))


def remove_ground(
    cloud: PointCloud, tolerance: float = 0.01, up: Vector = (0.0, 0.0, 1.0)
) -> PointCloud:
    """Return the cloud without its largest horizontal plane and everything below it.

    RANSAC: of 256 planes through three points each (fixed seed, at most 25 degrees from
    horizontal), the one with the most points within ``tolerance`` metres is removed. If no plane
    has a tenth of the points, the cloud is returned unchanged.
    """
    xyz_P3 = cloud.xyz.astype(np.float64)
    up_3 = np.asarray(up, np.float64) / np.linalg.norm(up)
    if len(xyz_P3) < 3:
        return cloud
    best, height_P = max(3.0, SHARE * len(xyz_P3)), None
    draw = np.random.default_rng(0)
    for corner_33 in xyz_P3[draw.integers(0, len(xyz_P3), (PLANES, 3))]:
        normal_3 = np.cross(corner_33[1] - corner_33[0], corner_33[2] - corner_33[0])
        length = float(np.linalg.norm(normal_3))
        if length == 0 or abs(normal_3 @ up_3) < UPRIGHT * length:
            continue
        normal_3 *= np.sign(normal_3 @ up_3) / length
        found_P = (xyz_P3 - corner_33[0]) @ normal_3
        count = int((np.abs(found_P) <= tolerance).sum())
        if count >= best + (height_P is not None):  # of equally good planes, the first
            best, height_P = count, found_P
    return cloud if height_P is None else select(cloud, height_P > tolerance)


def unit_sphere(xyz_P3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the points centred at their mean and scaled so that the farthest is at radius 1.

    Points that all coincide are moved to the origin.
    """
    if not len(xyz_P3):
        raise ValueError("cannot normalise a cloud without points")
    centred_P3 = xyz_P3.astype(np.float64)
    centred_P3 -= centred_P3[0]  # makes the mean of coinciding points exact
    centred_P3 -= centred_P3.mean(axis=0)
    radius = float(np.sqrt((centred_P3**2).sum(axis=1).max()))
    return (centred_P3 / radius if radius else centred_P3).astype(np.float32)


def resample(cloud: PointCloud, count: int) -> PointCloud:
    """Return a cloud of exactly ``count`` points.

    A larger cloud is reduced by farthest point sampling, which starts at point 0. A smaller cloud
    is repeated from the start. A cloud of this size is returned unchanged.
    """
    points = len(check_not_empty(cloud, source="resample").xyz)
    if points == count:
        return cloud
    if points < count:
        return select(cloud, np.arange(count) % points)
    return select(cloud, sampling.farthest_points(cloud.xyz, count))


def _pose(
    extrinsics: NDArray[np.float64], direction: str, source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotation and translation from camera to world."""
    if extrinsics.shape not in ((3, 4), (4, 4)) or not np.isfinite(extrinsics).all():
        raise UserError(
            f"{source}: extrinsics have shape {extrinsics.shape} or are not finite; use (3, 4) or"
            " (4, 4)"
        )
    rotation_33, shift_3 = extrinsics[:3, :3], extrinsics[:3, 3]
    if not np.allclose(rotation_33 @ rotation_33.T, np.eye(3), atol=1e-3):
        raise UserError(
            f"{source}: the left 3x3 of the extrinsics is not a rotation; give R and t in metres"
        )
    if direction == "camera_to_world":
        return rotation_33, shift_3
    return rotation_33.T, -rotation_33.T @ shift_3


def _inverse(intrinsics_33: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    good = intrinsics_33.shape == (3, 3) and np.isfinite(intrinsics_33).all()
    if not good or not intrinsics_33[0, 0] * intrinsics_33[1, 1] or intrinsics_33[2, 2] != 1:
        raise UserError(
            f"{source}: intrinsics {intrinsics_33.tolist()!r} are invalid; use [[fx, s, cx],"
            " [0, fy, cy], [0, 0, 1]] in pixels"
        )
    return np.linalg.inv(intrinsics_33).astype(np.float64)


def join_views(
    parts: Sequence[PointCloud],
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    points: int,
    *,
    source: str,
) -> PointCloud:
    """Merge the points of several cameras, crop them, and reduce them to ``points``, 0 for all.

    Raises UserError that names ``source`` if no point is left.
    """
    kept = check_not_empty(crop(merge(parts), low, high), source=source)
    return resample(kept, points) if points else kept
