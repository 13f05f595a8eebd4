"""Preprocessing of ULIP-2, and division of clouds into groups.

Shapes: P = points, G = groups, k = points of a group, F = values per point (6, or 3)
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgb2act_core import UserError, pointclouds
from rgb2act_core.interfaces import PointCloud

from .config import Grouping, Ulip

CORE = 1e-3  # squared distance from the origin below which the official code samples no centre


@attrs.frozen(eq=False)
class Points:
    """Preprocessed points of one cloud, and their original positions."""

    xyz: NDArray[np.float32]  # (P, 3), centre at the origin, radius 1
    rgb: NDArray[np.float32]  # (P, 3), 0..1
    world: NDArray[np.float32]  # (P, 3), as given


def prepare(cloud: PointCloud, config: Ulip, source: str) -> tuple[Points, int]:
    """Return the preprocessed points, and the number of points dropped because they are not
    finite."""
    _check(cloud, source)
    cloud, dropped = pointclouds.clean(cloud.xyz, cloud.rgb, source=source)
    if config.crop:
        x, y, z, x1, y1, z1 = config.crop
        cloud = pointclouds.crop(cloud, (x, y, z), (x1, y1, z1))
    if config.ground:
        cloud = pointclouds.remove_ground(cloud, config.ground)
    pointclouds.check_not_empty(cloud, source=source)
    if config.order == "sorted":
        cloud = pointclouds.select(cloud, np.lexsort([*cloud.rgb.T[::-1], *cloud.xyz.T[::-1]]))
    if len(cloud.xyz) > config.points:
        cloud = pointclouds.resample(cloud, config.points)
    rgb_P3 = cloud.rgb.astype(np.float32) / np.float32(255)
    return fill(Points(pointclouds.unit_sphere(cloud.xyz), rgb_P3, cloud.xyz), config), dropped


def fill(points: Points, config: Ulip) -> Points:
    """Repeat the points in order up to the number that the config or one group needs."""
    count = len(points.xyz)
    wanted = max(count, config.grouping.size, config.points if config.fill else 0)
    if wanted == count:
        return points
    which = np.arange(wanted) % count
    return Points(points.xyz[which], points.rgb[which], points.world[which])


def group(parts: Sequence[Points], grouping: Grouping, device: torch.device) -> tuple[Tensor, ...]:
    """Return groups (B, G, k, 6), and their centres (B, G, 3) in the unit sphere and in the world.

    A group is the ``k`` points nearest to its centre, relative to it, in any order.
    """
    cut = _cut_torch if device.type != "cpu" else _cut
    rows = []
    for points, (centre_G, near_Gk) in zip(parts, cut(parts, grouping, device), strict=True):
        centres_G3 = points.xyz[centre_G]
        seen_Gk3 = points.xyz[near_Gk] - centres_G3[:, None]
        groups_Gk6 = np.concatenate([seen_Gk3, points.rgb[near_Gk]], axis=-1)
        rows.append((groups_Gk6, centres_G3, points.world[centre_G]))
    stacked = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return tuple(part.to(device) for part in stacked)


Indices = tuple[NDArray[np.int64], NDArray[np.int64]]


def _cut(parts: Sequence[Points], grouping: Grouping, device: torch.device) -> list[Indices]:
    """Return the indices of the centres (G,) and of their neighbours (G, k) of each cloud."""
    found = []
    for points in parts:
        centre_G = pointclouds.farthest_points(without_core(points.xyz), grouping.groups)
        near_Gk = pointclouds.nearest_points(points.xyz, points.xyz[centre_G], grouping.size)
        found.append((centre_G, near_Gk))
    return found


def _cut_torch(parts: Sequence[Points], grouping: Grouping, device: torch.device) -> list[Indices]:
    """Return the same, computed on a GPU."""
    longest = max(len(points.xyz) for points in parts)
    filled = []
    for points in parts:
        outer_P3 = without_core(points.xyz)
        rest = np.repeat(outer_P3[:1], longest - len(outer_P3), axis=0)
        filled.append(np.concatenate([outer_P3, rest]))
    centres_BG = pointclouds.farthest_points_torch(
        torch.from_numpy(np.stack(filled)).to(device), grouping.groups
    )
    found = []
    for points, centre_G in zip(parts, centres_BG, strict=True):
        xyz_P3 = torch.from_numpy(points.xyz).to(device)
        near_Gk = pointclouds.nearest_points_torch(xyz_P3, xyz_P3[centre_G], grouping.size)
        found.append((centre_G.cpu().numpy(), near_Gk.cpu().numpy()))
    return found


def without_core(xyz_P3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move the points near the origin to point 0, so that none of them is sampled."""
    x_P, y_P, z_P = xyz_P3.T
    core_P = (x_P * x_P + y_P * y_P) + z_P * z_P <= np.float32(CORE)
    return np.where(core_P[:, None], xyz_P3[:1], xyz_P3)


def _check(cloud: PointCloud, source: str) -> None:
    if cloud.xyz.shape != cloud.rgb.shape or cloud.xyz.ndim != 2 or cloud.xyz.shape[1] != 3:
        raise UserError(
            f"{source}: xyz has shape {cloud.xyz.shape} and rgb {cloud.rgb.shape}; both need (P, 3)"
        )
