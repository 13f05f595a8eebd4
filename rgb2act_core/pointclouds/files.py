"""Read point clouds from files: PLY and NPZ by our own means, PCD through open3d.

Shapes: P = points, T = frames
"""

from __future__ import annotations

import importlib
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..interfaces import PointCloud
from ..system.progress import say
from . import ply
from .processing import check_not_empty, clean

PACKAGES = {  # of Debian and Ubuntu, for libraries that open3d loads
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libudev.so.1": "libudev1",
}
NAMES = (("xyz", "rgb"), ("points", "colors"))  # of arrays in an NPZ file

Arrays = tuple[NDArray[Any], NDArray[Any] | None]


def read_point_cloud(path: Path, *, grey: bool = False) -> tuple[PointCloud, int]:
    """Return the cloud in a file and how many points were dropped for not being finite.

    The suffix says the format: .ply, .pcd or .npz. Colours are read by their type
    (``clouds.levels``). A file without colours raises UserError, or is grey if ``grey``. So does
    one that is damaged, or without any finite point.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise UserError(f"{path}: {path.suffix!r} is no known format of clouds; give {known}")
    xyz_P3, rgb_P3 = reader(path)
    if rgb_P3 is None and not grey:
        raise UserError(f"{path}: has no colours, which teachers need; or read it as grey")
    cloud, dropped = clean(xyz_P3, rgb_P3, source=str(path))
    return check_not_empty(cloud, source=str(path)), dropped


@attrs.frozen(eq=False)
class FolderClouds(Sequence[PointCloud]):
    """Read the clouds of T frames one by one out of their files, file t for frame t."""

    paths: tuple[Path, ...]
    grey: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> PointCloud: ...
    @overload
    def __getitem__(self, index: slice) -> list[PointCloud]: ...
    def __getitem__(self, index: int | slice) -> PointCloud | list[PointCloud]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        path = self.paths[index]
        cloud, dropped = read_point_cloud(path, grey=self.grey)
        if dropped:
            say(f"{path}: {dropped} points that are not finite were dropped")
        return cloud


def open_cloud_folder(folder: Path, frames: int, *, grey: bool = False) -> FolderClouds:
    """Return the clouds of a folder, paired with frames 0 to T - 1 by the number in each name.

    The number is the last one in a file's name. UserError when a frame has no file or several, or
    a file no frame.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in _READERS:
            continue
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise UserError(f"{path}: its name has no frame number; name it as frame_0012.ply")
        frame = int(numbers[-1])
        if frame in found:
            raise UserError(f"{path}: is frame {frame}, as is {found[frame].name}; remove one")
        found[frame] = path
    missing = [t for t in range(frames) if t not in found]
    extra = sorted(set(found) - set(range(frames)))
    if missing or extra:
        what = f"no cloud for frame {missing[0]}" if missing else f"a cloud of frame {extra[0]}"
        raise UserError(
            f"{folder}: {what}, {len(found)} clouds for {frames} frames; number them from 0 on,"
            " one each"
        )
    return FolderClouds(tuple(found[t] for t in range(frames)), grey)


def _npz(path: Path) -> Arrays:
    """Return ``xyz`` and ``rgb``, or ``points`` and ``colors``; points may be (P, 6)."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("not an NPZ archive")
            names = next((pair for pair in NAMES if pair[0] in file), None)
            if names is None:
                held = ", ".join(map(repr, list(file)[:8])) or "nothing"
                raise UserError(f"{path}: holds {held}; name the arrays 'xyz' and 'rgb'")
            xyz, rgb = file[names[0]], file.get(names[1])
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zlib.error) as err:
        raise UserError(f"{path}: cannot be read as NPZ ({_first(err)})") from err
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, SyntaxError) as err:
        raise UserError(f"{path}: cannot be read as NPZ ({_first(err)})") from err
    if rgb is None and xyz.ndim == 2 and xyz.shape[1] == 6:
        return xyz[:, :3], xyz[:, 3:]
    return xyz, rgb


def _pcd(path: Path) -> Arrays:
    open3d = import_open3d(path)
    try:
        _check_ascii_pcd(path.read_bytes(), path)
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror})") from err
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        cloud = open3d.io.read_point_cloud(str(path), format="pcd", remove_nan_points=False)
    if not cloud.has_points():
        raise UserError(f"{path}: open3d reads no points from it; it is empty or damaged")
    colours = np.clip(np.asarray(cloud.colors), 0, 1) if cloud.has_colors() else None
    return np.asarray(cloud.points), colours


def _check_ascii_pcd(data: bytes, path: Path) -> None:
    """Raise UserError for an ascii file that is cut short: open3d would make up the rest as 0."""
    head, mark, body = data.partition(b"\nDATA ascii")
    if not mark:
        return
    header = {words[0]: words[1:] for line in head.split(b"\n") if (words := line.split())}
    first = head.count(b"\n") + 3
    rows = body.rstrip().split(b"\n")[1:]
    counts = header.get(b"COUNT") or [b"1"] * len(header.get(b"FIELDS", []))
    points = header.get(b"POINTS") or [b""]
    if not all(word.isdigit() and len(word) < 10 for word in (*counts, *points)):
        raise UserError(f"{path}: the header's COUNT or POINTS is malformed")
    if len(rows) != int(points[0]):
        raise UserError(
            f"{path}:{first + len(rows)}: has {len(rows)} points, the header says"
            f" {int(points[0])}; it is cut short or damaged"
        )
    width = sum(map(int, counts))
    for number, row in enumerate(rows, first):
        if len(row.split()) != width:
            raise UserError(f"{path}:{number}: has {len(row.split())} values instead of {width}")


def import_open3d(path: Path) -> Any:
    """Return open3d; UserError that says which package is missing for it."""
    try:
        open3d = importlib.import_module("open3d")
    except ModuleNotFoundError as err:
        raise UserError(
            f"{path}: PCD files are read by open3d, and {err.name!r} is not installed; run 'pip"
            " install open3d', or save the cloud as PLY"
        ) from err
    except (ImportError, OSError) as err:
        library = next(iter(re.findall(r"[\w.+-]+\.so[\d.]*", str(err))), None)
        package = PACKAGES.get(library or "")
        remedy = (
            f"run 'apt-get install {package}' (Debian, Ubuntu)"
            if package
            else f"install the system package that brings {library}"
            if library
            else "install it again"
        )
        raise UserError(
            f"{path}: open3d, which reads PCD files, cannot be imported ({_first(err)}); {remedy},"
            " or save the cloud as PLY"
        ) from err
    return open3d


def _first(err: BaseException) -> str:
    return (str(err) or type(err).__name__).partition("\n")[0][:120]


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".ply": ply.read_vertices,
    ".pcd": _pcd,
    ".npz": _npz,
}
