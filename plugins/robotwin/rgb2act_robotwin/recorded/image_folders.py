"""Images and point clouds stored as single files, which replace those in the HDF5 files.

    <root>/<task>[-<config>...][_<camera>]/<episode>/step_0000.png
    <root>/<task>[-<config>...]/<episode>/step_0000.ply

File k belongs to row k of the HDF5 file; k is the last number in its name.

Shapes: R = rows of the HDF5 file, T = frames of the episode
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, check_within
from rgb2act_core.pointclouds import FolderClouds, open_cloud_folder

from ..config import ALIASES, CAMERAS, Robotwin
from ..tasks import TASKS
from .episode_index import IndexEntry
from .images import FolderImages, read_image

IMAGES = (".png", ".jpg", ".jpeg")
CLOUDS = (".ply", ".pcd", ".npz")


def open_images(
    root: Path, config: Robotwin, entry: IndexEntry, rows: int, wanted_T: NDArray[np.int64]
) -> FolderImages:
    """Return the images of an episode; raise UserError unless each of its rows has one."""
    paths = []
    for camera in config.views:
        folder = _episode(_task(root, config, entry, camera), entry.number)
        check_within(folder, root)
        found = _numbered(folder, IMAGES)
        _check(folder, found, rows, "image", IMAGES)
        paths.append(tuple(found[int(t)] for t in wanted_T))
    height, width, _ = read_image(paths[0][0]).shape
    for files in paths[1:]:
        read_image(files[0], (height, width))
    return FolderImages(tuple(paths), (height, width))


def open_clouds(
    root: Path, config: Robotwin, entry: IndexEntry, rows: int, wanted_T: NDArray[np.int64]
) -> FolderClouds:
    """Return the point clouds of an episode; raise UserError unless each of its rows has one."""
    folder = _episode(_task(root, config, entry, None), entry.number)
    check_within(folder, root)
    found = _numbered(folder, CLOUDS)
    _check(folder, found, rows, "cloud", CLOUDS)
    paired = open_cloud_folder(folder, len(found), grey=config.grey)
    return FolderClouds(tuple(paired.paths[int(t)] for t in wanted_T), config.grey)


def _task(root: Path, config: Robotwin, entry: IndexEntry, camera: str | None) -> Path:
    """Return the folder of a task, configuration and camera."""
    known = [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
    longer = [t for t in TASKS if t != config.task and t.startswith(config.task)]
    found = [
        path
        for path in known
        if re.match(rf"{re.escape(config.task)}(?![a-zA-Z0-9])", path.name)
        and not path.name.startswith(tuple(longer))
    ]
    found = [path for path in found if entry.config in path.name] or found
    if camera is not None:
        spellings = [camera, *(short for short, name in ALIASES.items() if name == camera)]
        bare = [p for p in found if not p.name.endswith((*CAMERAS, *ALIASES))]
        mine = [path for path in found if path.name.endswith(tuple(spellings))]
        found = mine or (bare if len(config.views) == 1 else [])
    if len(found) != 1:
        names = ", ".join(p.name for p in found or known[:8]) or "no folder"
        which = f" and camera {camera}" if camera else ""
        fault = "several folders" if found else "no folder"
        raise UserError(
            f"{root}: {fault} for task {config.task}{which}: {names}; name one"
            f" {config.task}{f'_{camera}' if camera else ''}"
        )
    return found[0]


def _episode(folder: Path, number: int) -> Path:
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir()
        and (numbers := re.findall(r"\d+", path.name))
        and int(numbers[-1]) == number
    ]
    if len(found) != 1:
        what = "several folders" if found else "no folder"
        raise UserError(
            f"{folder}: {what} for episode {number}; name one episode_{number}, or leave"
            " the episode out with [environment] skip"
        )
    return found[0]


def _numbered(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes:
            continue
        if path.is_symlink():
            check_within(path, folder)
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise UserError(
                f"{path}: its name has no frame number; rename it, for example to step_0012.png"
            )
        if (number := int(numbers[-1])) in found:
            raise UserError(
                f"{path}: is frame {number} as well as {found[number].name}; remove one"
            )
        found[number] = path
    return found


def _check(
    folder: Path, found: dict[int, Path], rows: int, what: str, suffixes: Sequence[str]
) -> None:
    """Raise UserError unless files are frames 0 to R - 1; the last, without action, is optional."""
    others = {path.suffix for path in folder.iterdir()} - {"", *suffixes}
    if not found and others:
        raise UserError(
            f"{folder}: has no {what}s, but files of type {', '.join(sorted(others)[:4])}; convert"
            f" them to {' or '.join(suffixes)}"
        )
    missing = sorted(set(range(rows - 1)) - set(found))
    extra = sorted(set(found) - set(range(rows)))
    if missing or extra or not found:
        fault = f"no {what} for frame {missing[0]}" if missing else f"has {what} {extra[:1]}"
        raise UserError(
            f"{folder}: {fault}: {len(found)} {what}s for {rows} frames of the HDF5 file; export"
            " one per frame from the same recording and number them from 0"
        )
