"""Point clouds between a sensor and a teacher: made from depth, cleaned, cropped, normalised.

Every function returns a new cloud and leaves its input alone; none draws a random number that is
not seeded. Files are read by ``cloud_files``, samples and neighbours are found by ``sampling``.

Shapes: P = points, H W = pixels, N = wanted points
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..interfaces import PointCloud
from . import sampling

Vector = tuple[float, float, float]
GREY = 102  # of 255: the colour 0.4 that ULIP gives points without one
PLANES = 256  # drawn in search of the ground
UPRIGHT = 0.9  # cosine between the ground's normal and up, at least
SHARE = 0.1  # of the points that must lie on the ground for it to be one


def from_rows(rows: NDArray[Any], *, source: str, padded: bool = False) -> tuple[PointCloud, int]:
    """Return the cloud of rows x y z [r g b] and how many points were dropped.

    Colours are read by their type, as ``levels`` says; without columns for them points are grey.
    ``padded`` drops rows of zeros, with which RoboTwin fills clouds up; they are not counted.
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] not in (3, 6):
        raise UserError(f"{source}: points have shape {rows.shape}; give (P, 3) or (P, 6)")
    if padded:
        rows = rows[(rows != 0).any(axis=1)]
    return clean(rows[:, :3], rows[:, 3:] if rows.shape[1] == 6 else None, source=source)


def clean(
    xyz_P3: NDArray[Any], rgb_P3: NDArray[Any] | None, *, source: str
) -> tuple[PointCloud, int]:
    """Return the cloud of the points that are finite, and how many were not.

    A NaN colour drops its point too. ``rgb_P3`` None means grey. ``source`` is for messages.
    """
    if xyz_P3.ndim != 2 or xyz_P3.shape[1] != 3 or xyz_P3.dtype.kind not in "fiu":
        raise UserError(f"{source}: points are {xyz_P3.dtype} {xyz_P3.shape}; give numbers (P, 3)")
    if rgb_P3 is None:
        rgb_P3 = np.full(xyz_P3.shape, GREY, np.uint8)
    if rgb_P3.shape != xyz_P3.shape:
        raise UserError(
            f"{source}: points have shape {xyz_P3.shape}, colours {rgb_P3.shape}; give one each"
        )
    with np.errstate(over="ignore"):
        xyz_P3 = xyz_P3.astype(np.float32)  # a double beyond float32 becomes infinite
    good_P = np.isfinite(xyz_P3).all(axis=1)
    if rgb_P3.dtype.kind == "f":
        good_P &= ~np.isnan(rgb_P3).any(axis=1)
    rgb_P3 = colours_to_uint8(rgb_P3[good_P], source=source)
    return PointCloud(xyz=xyz_P3[good_P], rgb=rgb_P3), int((~good_P).sum())


def colours_to_uint8(rgb_P3: NDArray[Any], *, source: str) -> NDArray[np.uint8]:
    """Return colours as uint8, read by their type and never by their largest value.

    uint8 is 0..255, uint16 0..65535, floats are 0..1; other integers hold levels 0..255. Values
    outside these ranges raise UserError.
    """
    kind = rgb_P3.dtype.newbyteorder("=")
    if kind == np.uint8:
        return rgb_P3.copy()
    if kind.kind not in "fiu":
        raise UserError(f"{source}: colours are {kind}; give uint8, uint16, or floats 0..1")
    top = 1 if kind.kind == "f" else 65535 if kind == np.uint16 else 255
    wrong = np.argwhere(~((rgb_P3 >= 0) & (rgb_P3 <= top)))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"{source}: colour {'rgb'[column]} of point {row} is {rgb_P3[row, column].item()!r},"
            f" {kind} colours are 0..{top}; convert them"
        )
    return np.rint(rgb_P3.astype(np.float64) * (255 / top)).astype(np.uint8)


def check_not_empty(cloud: PointCloud, *, source: str) -> PointCloud:
    """Return the cloud itself; UserError, with the frame that ``source`` names, without points."""
    if not len(cloud.xyz):
        raise UserError(f"{source}: the cloud has no points; leave the frame out or widen the crop")
    return cloud


def select(cloud: PointCloud, which: Any) -> PointCloud:
    """Return the chosen points, by index or by a bool for each."""
    return PointCloud(xyz=cloud.xyz[which], rgb=cloud.rgb[which])


def merge(clouds: Sequence[PointCloud]) -> PointCloud:
    """Return one cloud of all points, such as those of several cameras, in order."""
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
    """Return the points that one camera sees, in the world frame, row by row.

    ``depth_HW`` is measured along the optical axis and times ``scale`` is metres (0.001 for
    millimetres); pixels of no or non-finite depth give no point. The centre of the pixel in the
    first row and column is (0, 0). ``extrinsics`` are (3, 4) or (4, 4). OpenCV's camera looks
    along +z with y down, OpenGL's along -z with y up.
    """
    depth_HW, rgb_HW3 = np.asarray(depth_HW), np.asarray(rgb_HW3)
    if depth_HW.ndim != 2 or rgb_HW3.shape != (*depth_HW.shape, 3) or rgb_HW3.dtype != np.uint8:
        raise UserError(
            f"{source}: depth has shape {depth_HW.shape}, the image {rgb_HW3.dtype}"
            f" {rgb_HW3.shape}; give (H, W) and uint8 (H, W, 3)"
        )
    rotation_33, shift_3 = _pose(np.asarray(extrinsics, np.float64), direction, source)
    z_HW = depth_HW.astype(np.float64) * scale
    seen_HW = np.isfinite(z_HW) & (z_HW > 0)
    v_P, u_P = np.nonzero(seen_HW)
    pixels_3P = np.stack([u_P, v_P, np.ones(len(u_P))])
    camera_3P = _inverse(np.asarray(intrinsics_33, np.float64), source) @ pixels_3P * z_HW[seen_HW]
    if axes == "opengl":
        camera_3P[1:] *= -1
    world_P3 = (rotation_33 @ camera_3P).T + shift_3
    return PointCloud(xyz=world_P3.astype(np.float32), rgb=rgb_HW3[seen_HW])


def crop(cloud: PointCloud, low: Vector, high: Vector) -> PointCloud:
    """Return the points in a box of the world frame, its faces included; metres."""
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise UserError(f"crop: {low!r} is not below {high!r}; give the box's lowest corner first")
    low_3, high_3 = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return select(cloud, ((cloud.xyz >= low_3) & (cloud.xyz <= high_3)).all(axis=1))


def remove_ground(
    cloud: PointCloud, tolerance: float = 0.01, up: Vector = (0.0, 0.0, 1.0)
) -> PointCloud:
    """Return the cloud without its largest level plane and what lies beneath it.

    The plane is the one with most points within ``tolerance`` metres of it, of 256 drawn with a
    fixed seed through three points each, up to 25 degrees from level. When no such plane has a
    tenth of the points the cloud is returned whole.
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
        if count >= best + (height_P is not None):  # the first of equally good ones
            best, height_P = count, found_P
    return cloud if height_P is None else select(cloud, height_P > tolerance)


def unit_sphere(xyz_P3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the points with their mean at the origin and the farthest at radius 1.

    Points that all coincide go to the origin.
    """
    if not len(xyz_P3):
        raise ValueError("there are no points to normalise")
    near_P3 = xyz_P3.astype(np.float64)
    near_P3 -= near_P3[0]  # so that equal points have exactly their own mean
    near_P3 -= near_P3.mean(axis=0)
    radius = float(np.sqrt((near_P3**2).sum(axis=1).max()))
    return (near_P3 / radius if radius else near_P3).astype(np.float32)


def resample(cloud: PointCloud, count: int) -> PointCloud:
    """Return ``count`` points: the farthest samples of a larger cloud, a smaller one repeated.

    Samples begin with point 0 and come in the order they were found. A smaller cloud is repeated
    from its beginning; one of that size is returned as it is.
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
    """Return rotation and shift from camera to world."""
    if extrinsics.shape not in ((3, 4), (4, 4)) or not np.isfinite(extrinsics).all():
        raise UserError(
            f"{source}: extrinsics have shape {extrinsics.shape} or are not finite; give (3, 4) or"
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
            f"{source}: intrinsics {intrinsics_33.tolist()!r}; give [[fx, s, cx], [0, fy, cy],"
            " [0, 0, 1]] in pixels"
        )
    return np.linalg.inv(intrinsics_33).astype(np.float64)
