"""The keys of an episode in each layout of RoboTwin's HDF5 files.

legacy     released data sets: joint_action, observation, pointcloud
head       RoboTwin's newer collector: state, action, vision
converted  legacy files after RoboTwin's converter: as head, with extrinsic_matrix, joint_states,
           instruction and pointclouds
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import h5py

from rgb2act_core import UserError, first_line
from rgb2act_core.recordings.hdf5 import DAMAGE, REMEDY, open_file

from ..config import camera_name

STEP_HZ = 250  # simulator steps per second
SAVE_FREQUENCY = 15  # simulator steps per frame, RoboTwin's default
THIRD_VIEW = "third_view"  # an extra camera in some old files
TIMES = tuple(f"{group}timestamp{s}" for group in ("", "additional_info/") for s in ("", "s"))


@attrs.frozen
class Camera:
    """Keys of one camera's arrays; None for an array that is missing."""

    rgb: str
    depth: str | None
    intrinsics: str | None
    extrinsics: str | None


@attrs.frozen(kw_only=True)
class Layout:
    """Keys of a file's arrays."""

    name: str  # legacy, head or converted
    cameras: Mapping[str, Camera]  # by RoboTwin's own names
    clouds: str | None
    state: tuple[str, ...]  # one key (T, 14), or left arm, left gripper, right arm, right gripper
    actions: tuple[str, ...]  # likewise; empty if actions are the next row of the state
    texts: tuple[str, ...] = ()  # keys of instructions
    frequency: str | None = None
    times: str | None = None  # seconds of each frame, in files of some recorders


def layout_of(path: Path) -> Layout:
    """Return the layout of a file by its keys; raise UserError for an unknown layout."""
    with open_file(path) as file:
        try:
            top = set(file)
            if {"joint_action", "observation"} & top:
                return _legacy(file)
            if "vision" in top or {"state", "action"} <= top:
                return _newer(file)
        except DAMAGE as err:
            raise UserError(
                f"{path}: its keys cannot be read ({first_line(err)}); {REMEDY}"
            ) from err
    keys = ", ".join(sorted(top)[:8]) or "no keys"
    raise UserError(
        f"{path}: has {keys}, which is not a layout of RoboTwin; expected joint_action and"
        " observation, or state, action and vision"
    )


def _legacy(file: h5py.File) -> Layout:
    cameras = {
        name: _camera(group, "rgb", "depth", "intrinsic_cv", ("extrinsic_cv", "cam2world_gl"))
        for name, group in _groups(file, "observation")
    }
    if isinstance(file.get("third_view_rgb"), h5py.Dataset):
        cameras[THIRD_VIEW] = Camera("third_view_rgb", None, None, None)
    parts = tuple(f"joint_action/{s}_{p}" for s in ("left", "right") for p in ("arm", "gripper"))
    vector = "joint_action/vector"
    return Layout(
        name="legacy",
        cameras=cameras,
        clouds=_cloud_key(file, "pointcloud"),
        state=(vector,) if vector in file or parts[0] not in file else parts,
        actions=(),
        times=_times(file),
    )


def _newer(file: h5py.File) -> Layout:
    extrinsics = ("extrinsics_matrix", "extrinsic_matrix")
    cameras = {
        camera_name(name): _camera(group, "colors", "depths", "intrinsic_matrix", extrinsics)
        for name, group in _groups(file, "vision")
    }
    marks = [key for key in ("instruction", "pointclouds", "state/joint_states") if key in file]
    old = any((c.extrinsics or "").endswith("extrinsic_matrix") for c in cameras.values())
    return Layout(
        name="converted" if marks or old else "head",
        cameras=cameras,
        clouds=_cloud_key(file, "pointclouds"),
        state=_joints(file, "state"),
        actions=_joints(file, "action"),
        texts=("instructions", "instruction"),
        frequency="additional_info/frequency",
        times=_times(file),
    )


def _times(file: h5py.File) -> str | None:
    return next((key for key in TIMES if isinstance(file.get(key), h5py.Dataset)), None)


def _joints(file: h5py.File, group: str) -> tuple[str, ...]:
    parts = tuple(
        f"{group}/{side}_{part}_joint_states"
        for side in ("left", "right")
        for part in ("arm", "ee")
    )
    vector = f"{group}/joint_states"
    return (vector,) if vector in file and not all(part in file for part in parts) else parts


def _groups(file: h5py.File, key: str) -> list[tuple[str, h5py.Group]]:
    found = file.get(key)
    items = found.items() if isinstance(found, h5py.Group) else ()
    return [(name, group) for name, group in items if isinstance(group, h5py.Group)]


def _camera(
    group: Any, rgb: str, depth: str, intrinsics: str, extrinsics: tuple[str, ...]
) -> Camera:
    def path(key: str | None) -> str | None:
        return f"{group.name.strip('/')}/{key}" if key is not None and key in group else None

    where = next((key for key in extrinsics if key in group), None)
    return Camera(
        rgb=f"{group.name.strip('/')}/{rgb}",
        depth=path(depth),
        intrinsics=path(intrinsics),
        extrinsics=path(where),
    )


def _cloud_key(file: h5py.File, key: str) -> str | None:
    """Return the key unless its array is missing or empty, which means no clouds."""
    found = file.get(key)
    return key if isinstance(found, h5py.Dataset) and found.size else None
