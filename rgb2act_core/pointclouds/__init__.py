"""Read, clean, crop, sample and merge coloured point clouds."""

from .files import FolderClouds, of_frames, read
from .processing import (
    clean,
    crop,
    from_depth,
    from_rows,
    levels,
    merge,
    not_empty,
    remove_ground,
    resample,
    take,
    unit_sphere,
)
from .sampling import curve, farthest, farthest_torch, nearest, nearest_torch

__all__ = [
    "FolderClouds",
    "clean",
    "crop",
    "curve",
    "farthest",
    "farthest_torch",
    "from_depth",
    "from_rows",
    "levels",
    "merge",
    "nearest",
    "nearest_torch",
    "not_empty",
    "of_frames",
    "read",
    "remove_ground",
    "resample",
    "take",
    "unit_sphere",
]
