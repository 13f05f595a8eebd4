"""Rules for RoboTwin's files, in addition to those that rgb2act has for any recorded data.

Shapes: R = rows of a file, A = 14 joints and grippers, H W = pixels
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, parse_json, pointclouds, read_regular
from rgb2act_core.interfaces import Episode, Finding, Severity
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

from ..config import Robotwin
from ..simulator.recording_settings import RECORDING, recorded_settings
from . import episode_index
from .episode_index import IndexEntry
from .images import read_jpegs
from .joint_states import ACTION_NAMES, Floats, check_rows, read_joints
from .layouts import SAVE_FREQUENCY, THIRD_VIEW, Camera, Layout, layout_of

AGREE = 0.02  # largest difference of arrays that store the same joints, radians
METRES = 20.0  # depth below this is in metres: 20 mm is too close for a camera
FASTEST = 0.1  # radians per frame; at save_freq 15, the median was 0.02 and at 150, 0.15
RENDERING = ("task_config", "camera", "shader", "shadows")  # settings that change images
CLOUD_FILES = 2000  # most point cloud files that are read

FileRule = Callable[[Path, Layout, Robotwin], Iterator[Finding]]


def check_files(entries: Sequence[IndexEntry], config: Robotwin) -> Iterator[Finding]:
    """Yield findings about the files of a data set; damaged files are left to the reader."""
    yield from _ignored(config)
    yield from _third_view(config)
    yield from _rendering(entries, config)
    for entry in entries:
        try:
            with hdf5.open_file(entry.path):
                layout = layout_of(entry.path)
                for rule in FILE_RULES:
                    yield from rule(entry.path, layout, config)
        except UserError:
            continue


def check_cloud_folders(episodes: Sequence[Episode]) -> Iterator[Finding]:
    """Yield point cloud files that cannot be read or have no colours."""
    folders = [e.clouds for e in episodes if isinstance(e.clouds, pointclouds.FolderClouds)]
    paths = [(path, folder.grey) for folder in folders for path in folder.paths]
    for path, grey in paths[:: -(-len(paths) // CLOUD_FILES) or 1]:
        try:
            pointclouds.read_point_cloud(path, grey=grey)
        except UserError as err:
            problem, _, remedy = str(err).removeprefix(f"{path}: ").partition("; ")
            if "colour" in problem:
                remedy = "correct them, or set [environment] cloud_colours = 'grey'"
            yield _finding(
                Severity.ERROR, "clouds", path, problem, remedy or REMEDY, subject="clouds"
            )


def _finding(
    severity: Severity,
    rule: str,
    source: Path | str,
    problem: str,
    remedy: str = REMEDY,
    *,
    frame: int | None = None,
    subject: str = "",
) -> Finding:
    return Finding(
        severity=severity,
        rule=f"robotwin.{rule}",
        source=str(source),
        problem=problem,
        remedy=remedy,
        frame=frame,
        subject=subject,
    )


def _ignored(config: Robotwin) -> Iterator[Finding]:
    if config.data is not None:
        for path, text in episode_index.ignored_files(config.data):
            problem, _, remedy = text.partition("; ")
            yield _finding(Severity.WARNING, "ignored", path, problem, remedy, subject=str(path))


def _third_view(config: Robotwin) -> Iterator[Finding]:
    if THIRD_VIEW in config.views:
        yield _finding(
            Severity.WARNING if config.python is None else Severity.ERROR,
            "third_view",
            "robotwin.cameras",
            f"{THIRD_VIEW!r} exists only in recordings, so the policy cannot act in the simulator",
            "choose one of the cameras that rgb2act inspect lists, such as head_camera",
        )


def _rendering(entries: Sequence[IndexEntry], config: Robotwin) -> Iterator[Finding]:
    """Find recordings whose images the configured simulator would render differently."""
    folders = {entry.path.parents[1] for entry in entries} if config.python else set()
    for path in sorted(folder / RECORDING for folder in folders):
        recorded = _recorded_settings(path)
        for name in RENDERING:
            value, now = recorded.get(name), getattr(config, name)
            if value is not None and value != now:
                yield _finding(
                    Severity.WARNING,
                    "rendering",
                    path,
                    f"was recorded with {name} {value!r}, the simulator has {now!r}, so the policy"
                    " acts on images unlike those that it learned from",
                    f"set [environment] {name} = {json.dumps(value)}",
                    subject=name,
                )


def _recorded_settings(path: Path) -> dict[str, Any]:
    """Return the settings that episodes were recorded with; empty if they are not known."""
    try:
        return recorded_settings(parse_json(read_regular(path)))
    except (OSError, ValueError, UserError, AttributeError, TypeError):  # missing or damaged
        return {}


def _vectors(path: Path, layout: Layout, config: Robotwin) -> Iterator[Finding]:
    """Compare the array of all joints with the arrays of single arms and grippers."""
    for vector, parts in _twice_stored(layout):
        if not all(hdf5.has(path, key) for key in (vector, *parts)):
            continue
        one_RA, two_RA = read_joints(path, (vector,)), read_joints(path, parts)
        if len(one_RA) != len(two_RA):
            problem = f"{vector} has {len(one_RA)} rows, {parts[0]} has {len(two_RA)}"
            yield _finding(Severity.ERROR, "vector", path, problem, subject=vector)
            continue
        apart_RA = np.abs(one_RA.astype(np.float64) - two_RA)
        if apart_RA.max(initial=0.0) > AGREE:
            row = int(np.argmax(apart_RA.max(1) > AGREE))
            joint = int(apart_RA.max(0).argmax())
            yield _finding(
                Severity.ERROR,
                "vector",
                path,
                f"{vector} and the arrays of single arms differ by up to {apart_RA.max():.3g}"
                f" in {ACTION_NAMES[joint]}",
                frame=row,
                subject=vector,
            )


def _twice_stored(layout: Layout) -> Iterator[tuple[str, tuple[str, ...]]]:
    if layout.name == "legacy":
        sides = ("left", "right")
        yield (
            "joint_action/vector",
            tuple(f"joint_action/{s}_{p}" for s in sides for p in ("arm", "gripper")),
        )
        return
    for group in ("state", "action"):
        parts = [f"{s}_{p}_joint_states" for s in ("left", "right") for p in ("arm", "ee")]
        yield f"{group}/joint_states", tuple(f"{group}/{part}" for part in parts)


def _lengths(path: Path, layout: Layout, config: Robotwin) -> Iterator[Finding]:
    """Find arrays of cameras whose length differs from that of the joints."""
    for name, camera in layout.cameras.items():
        for key in (camera.rgb, camera.depth):
            if key is None:
                continue
            try:
                check_rows(path, layout, key)
            except UserError as err:
                problem = str(err).removeprefix(f"{path}: ").partition("; ")[0]
                used = name in (*config.views, *config.depth_views)
                severity = Severity.ERROR if used else Severity.WARNING
                yield _finding(severity, "length", path, problem, subject=key)


def _depth(path: Path, layout: Layout, config: Robotwin) -> Iterator[Finding]:
    """Find depth in metres, without measurements, or of another size than the colours."""
    for name, camera in layout.cameras.items():
        if camera.depth is None:
            continue
        severity = Severity.ERROR if _uses_depth(layout, config, name) else Severity.WARNING
        shape = hdf5.array_info(path, camera.depth).shape
        for row in sorted({0, shape[0] // 2, shape[0] - 1}) if shape and shape[0] else ():
            problem = _depth_problem(path, camera, camera.depth, row)
            if problem:
                text = f"{camera.depth} {problem}"
                remedy = "convert the depth, or set clouds = 'none'"
                yield _finding(severity, "depth", path, text, remedy, frame=row, subject=name)
                break


def _uses_depth(layout: Layout, config: Robotwin, name: str) -> bool:
    stored = layout.clouds is not None and config.clouds in ("auto", "stored")
    unused = stored or config.clouds == "none" or config.points is not None
    return name in config.depth_views and not unused


def _depth_problem(path: Path, camera: Camera, key: str, row: int) -> str:
    depth_HW: NDArray[np.float64] = hdf5.read(path, key, row).astype(np.float64)
    measured = depth_HW[np.isfinite(depth_HW) & (depth_HW > 0)]
    if not len(measured):
        return "has no measurements: it is 0 or not finite everywhere"
    if np.median(measured) < METRES:
        return f"looks like metres, expected millimetres: its median is {np.median(measured):.3g}"
    _, (head,) = read_jpegs(path, camera.rgb, np.array([row]))
    if depth_HW.shape[:2] != (head.height, head.width):
        height, width = depth_HW.shape[:2]
        return f"is {height}x{width}, but {camera.rgb} is {head.height}x{head.width}"
    return ""


def _frequency(path: Path, layout: Layout, config: Robotwin) -> Iterator[Finding]:
    """Find files without a frame rate whose joints are too fast for the default one."""
    stored = layout.frequency is not None and hdf5.has(path, layout.frequency)
    if stored or config.save_freq is not None:
        return
    joints_RA = read_joints(path, layout.state)
    step = _usual_step(joints_RA)
    if step > FASTEST and np.abs(joints_RA).max() < 2 * np.pi:  # else probably not radians
        yield _finding(
            Severity.WARNING,
            "frequency",
            path,
            f"joints move {step:.2f} rad per frame (median), and the file does not store its frame"
            f" rate, so save_freq was probably much larger than {SAVE_FREQUENCY}",
            "set [environment] save_freq to that of the task config",
            subject="frequency",
        )


def _usual_step(joints_RA: Floats) -> float:
    """Return the median over moving frames of the step of the joint that moves most."""
    steps_R = np.abs(np.diff(np.delete(joints_RA, [6, 13], axis=1), axis=0)).max(1, initial=0.0)
    moving = steps_R[steps_R > 1e-3]
    return float(np.median(moving)) if len(moving) else 0.0


FILE_RULES: tuple[FileRule, ...] = (_vectors, _lengths, _depth, _frequency)
