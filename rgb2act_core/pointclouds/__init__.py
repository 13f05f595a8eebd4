"""Coloured point clouds: from depth or files, cleaned, cropped, sampled and normalised.

A ``PointCloud`` has ``xyz`` (P, 3) float32 in metres and ``rgb`` (P, 3) uint8. Functions return
new clouds and never change their input.
"""

from ..interfaces import PointCloud
from .files import FolderClouds, open_cloud_folder, read_point_cloud
from .lazy import LazyClouds
from .processing import (
    check_not_empty,
    clean,
    colours_to_uint8,
    crop,
    from_depth,
    from_rows,
    join_views,
    merge,
    remove_ground,
    resample,
    select,
    unit_sphere,
    without_colours,
)
from .sampling import (
    farthest_points,
    farthest_points_torch,
    nearest_points,
    nearest_points_torch,
)

__all__ = [
    "FolderClouds",
    "LazyClouds",
    "PointCloud",
    "check_not_empty",
    "clean",
    "colours_to_uint8",
    "crop",
    "farthest_points",
    "farthest_points_torch",
    "from_depth",
    "from_rows",
    "join_views",
    "merge",
    "nearest_points",
    "nearest_points_torch",
    "open_cloud_folder",
    "read_point_cloud",
    "remove_ground",
    "resample",
    "select",
    "unit_sphere",
    "without_colours",
]
