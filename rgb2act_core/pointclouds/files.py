"""Read point clouds from PLY, PCD and NPZ files.

Shapes: P = points, T = frames
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from numpy.typing import NDArray

from ..errors import UserError
from ..interfaces import PointCloud
from ..system.progress import say
from . import npz, pcd, ply
from .lazy import LazyClouds
from .processing import check_not_empty, clean

Arrays = tuple[NDArray[Any], NDArray[Any] | None]


def read_point_cloud(path: Path, *, grey: bool = False) -> tuple[PointCloud, int]:
    """Return the cloud in a file and the number of non-finite points that were dropped.

    The format is determined by the suffix: .ply, .pcd or .npz. Colours are converted by their
    dtype as in ``colours_to_uint8``. Raises UserError if the file is damaged or has no finite
    point. A file without colours is an error too. With ``grey``, colours are not used and all
    points are grey.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise UserError(f"{path}: {path.suffix!r} is not a known point cloud format; use {known}")
    xyz_P3, rgb_P3 = reader(path)
    if rgb_P3 is None and not grey:
        raise UserError(f"{path}: has no colours, which teachers need; add them or pass grey=True")
    cloud, dropped = clean(xyz_P3, None if grey else rgb_P3, source=str(path))
    return check_not_empty(cloud, source=str(path)), dropped


@attrs.frozen(eq=False)
class FolderClouds(LazyClouds):
    """Lazy sequence of the clouds of T frames, one file per frame."""

    paths: tuple[Path, ...]
    grey: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> PointCloud:
        """Read the cloud of one frame."""
        path = self.paths[index]
        cloud, dropped = read_point_cloud(path, grey=self.grey)
        if dropped:
            say(f"{path}: dropped {dropped} points that are not finite")
        return cloud


def open_cloud_folder(folder: Path, frames: int, *, grey: bool = False) -> FolderClouds:
    """Return the clouds in a folder, matched to frames 0 to ``frames - 1`` by their file names.

    The last number in a file's name is its frame. Raises UserError unless every frame has exactly
    one file.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in _READERS:
            continue
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise UserError(
                f"{path}: the name has no frame number; rename it, as in frame_0012.ply"
            )
        frame = int(numbers[-1])
        if frame in found:
            raise UserError(
                f"{path}: has the same frame number {frame} as {found[frame].name}; remove one"
            )
        found[frame] = path
    missing = [t for t in range(frames) if t not in found]
    extra = sorted(set(found) - set(range(frames)))
    if missing or extra:
        what = f"no cloud for frame {missing[0]}" if missing else f"a cloud for frame {extra[0]}"
        raise UserError(
            f"{folder}: {what} ({len(found)} clouds for {frames} frames); number them from 0, one"
            " per frame"
        )
    return FolderClouds(tuple(found[t] for t in range(frames)), grey)


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".ply": ply.read_vertices,
    ".pcd": pcd.read_points,
    ".npz": npz.read_arrays,
}
