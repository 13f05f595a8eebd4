"""Read one recorded episode. Joints and headers are checked at once, images and clouds on access.

Shapes: T = frames of the episode, A = 14 joints and grippers
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, arrays_digest, did_you_mean, file_digest, key_of, read_regular
from rgb2act_core.interfaces import Episode, Frames, PointCloud
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

from ..config import CAMERAS, Robotwin
from . import cameras, image_folders, instructions
from .episode_index import IndexEntry
from .frame_selection import still_frames
from .images import StoredImages, read_jpegs
from .joint_states import JointTrajectory, check_rows, read_trajectory
from .layouts import SAVE_FREQUENCY, STEP_HZ, Layout, layout_of
from .true_states import read_states

VERSION = 1  # raise when the same file gives other numbers
DUPLICATE = "duplicate"
BLOCK = 16  # rows per digest

Rows = NDArray[np.int64]  # ascending


def read_episode(entry: IndexEntry, config: Robotwin) -> Episode:
    """Return an episode; raise UserError with every problem in its file.

    Joints are the drive targets that RoboTwin records, not measured positions. Actions lead to the
    joints of the next frame that ``duplicates`` and ``stride`` keep. The last frame of a legacy
    file has no action and is left out, as in RoboTwin's converters.
    """
    with hdf5.open_file(entry.path):
        return _read(entry, config)


def _read(entry: IndexEntry, config: Robotwin) -> Episode:
    layout = layout_of(entry.path)
    problems: list[str] = []

    def attempt(call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except UserError as err:
            problems.extend(str(arg) for arg in err.args)
            return None

    trajectory: JointTrajectory | None = attempt(
        read_trajectory, entry.path, layout, config.frame_rule
    )
    text: str | None = attempt(instructions.choose_instruction, entry, layout, config)
    rows = None if trajectory is None else trajectory.rows
    frames_read = attempt(_frames, entry, layout, config, rows)
    clouds_read = attempt(_clouds, entry, layout, config, rows)
    states = attempt(read_states, entry.path, np.arange(0) if rows is None else rows)
    if problems or trajectory is None or text is None:
        raise UserError(*problems)
    marks = duplicate_marks(trajectory.joints, config)
    frames, frame_digests = frames_read
    clouds, cloud_digests = clouds_read
    return Episode(
        name=entry.name,
        task=config.task,
        instruction=text,
        cameras=config.views,
        rgb=frames,
        joints=trajectory.joints,
        actions=trajectory.actions,
        clouds=clouds,
        state=marks | states,
        seed=seed_of(entry),
        times=_times(entry.path, layout, config, trajectory.rows),
        depth=cameras.stored_depth(entry.path, layout, trajectory.rows),
        digest=key_of(
            {
                "reader": VERSION,
                "names": [entry.name, config.task, text, *config.views],
                "frames": frame_digests,
                "clouds": cloud_digests,
                "motion": arrays_digest(trajectory.rows, trajectory.joints, trajectory.actions),
                "marked": arrays_digest(marks[DUPLICATE]) if marks else False,
                **({"states": arrays_digest(*states.values())} if states else {}),
            }
        ),
    )


def duplicate_marks(joints_TA: NDArray[np.float32], config: Robotwin) -> dict[str, Any]:
    """Return the state ``duplicate`` (T,): 1 for still frames; empty unless they are marked."""
    if config.duplicates != "mark":
        return {}
    return {DUPLICATE: still_frames(joints_TA, config.frame_rule).astype(np.float32)}


def seed_of(entry: IndexEntry) -> int | None:
    """Return the seed of an episode's scene from ``seed.txt``; None if it is not there."""
    try:
        seeds = read_regular(entry.folder / "seed.txt").decode().split()
    except (OSError, ValueError):
        return None
    seed = seeds[entry.number] if entry.number < len(seeds) else ""
    return int(seed) if seed.isdecimal() else None


def frame_rate(path: Path, layout: Layout, save_freq: int | None = None) -> float:
    """Return the frames per second. ``frequency`` in the file is simulator steps per frame.

    ``save_freq`` is used for files without it.
    """
    key, saved = layout.frequency, save_freq or SAVE_FREQUENCY
    stored = key is not None and hdf5.has(path, key)
    value = np.array(hdf5.read(path, key) if key is not None and stored else saved)
    if value.size == 1 and value.dtype.kind in "iu" and 0 < value.item() <= STEP_HZ:
        saved = value.item()
    return STEP_HZ / saved


def image_keys(path: Path, layout: Layout, names: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of the cameras' images; raise UserError for a camera that is missing."""
    for name in names:
        if name not in layout.cameras:
            available = ", ".join(layout.cameras) or "none"
            hint = "" if name in CAMERAS else did_you_mean(name, layout.cameras)
            raise UserError(
                f"{path}: camera {name!r} is missing{hint}; the file has {available};"
                " choose from these in [environment] cameras, or leave the episode out with skip"
            )
    return tuple(layout.cameras[name].rgb for name in names)


def _frames(
    entry: IndexEntry, layout: Layout, config: Robotwin, rows: Rows | None
) -> tuple[Frames, list[str]] | None:
    """Return the frames and the digests of their stored bytes; check all if ``rows`` is None."""
    if config.frames is not None:
        if rows is None:
            return None
        stored = hdf5.array_info(entry.path, layout.state[0]).rows
        found = image_folders.open_images(config.frames, config, entry, stored, rows)
        return found, [file_digest(path) for files in found.paths for path in files]
    keys = image_keys(entry.path, layout, config.views)
    sizes, digests = [], []
    for key in keys:
        have = hdf5.array_info(entry.path, key).rows
        checked = np.arange(have) if rows is None else rows
        if rows is not None:
            check_rows(entry.path, layout, key)
        data, heads = read_jpegs(entry.path, key, checked)
        if not heads:
            raise UserError(f"{entry.path}: {key}: has no frames; {REMEDY}")
        sizes.append((heads[0].height, heads[0].width))
        digests.append(_joined(data))
    if len(set(sizes)) > 1:
        raise UserError(
            f"{entry.path}: cameras {config.views!r} have sizes {sizes!r}; choose cameras of the"
            " same size in [environment] cameras"
        )
    return StoredImages(entry.path, keys, np.arange(0) if rows is None else rows, sizes[0]), digests


def _times(path: Path, layout: Layout, config: Robotwin, rows: Rows) -> NDArray[np.float64] | None:
    """Return the times of the kept frames; None without them or if still frames are dropped."""
    if layout.times is None or config.duplicates == "drop":
        return None
    times_R = hdf5.read_numbers(path, layout.times)[:, 0]
    return times_R if len(times_R) <= rows.max() else times_R[rows]


def _check_length(path: Path, key: str, rows: Rows) -> None:
    """Raise UserError if an array is too short for the rows of an episode."""
    have, count = hdf5.array_info(path, key).rows, int(rows.max(initial=-1)) + 1
    if have < count:
        raise UserError(f"{path}: {key}: has {have} frames for {count} steps; {REMEDY}")


def _clouds(
    entry: IndexEntry, layout: Layout, config: Robotwin, rows: Rows | None
) -> tuple[Sequence[PointCloud] | None, Any]:
    """Return the clouds and what identifies their content."""
    if rows is None or config.clouds == "none":
        return None, None
    if config.points is not None:
        stored = hdf5.array_info(entry.path, layout.state[0]).rows
        paired = image_folders.open_clouds(config.points, config, entry, stored, rows)
        digests = [file_digest(path) for path in paired.paths]
        return paired, [*digests, "grey"] if config.grey else digests
    path, key = entry.path, layout.clouds
    if key is not None and config.clouds in ("auto", "stored"):
        check_rows(path, layout, key)
        values = cameras.read_clouds(path, key, rows, grey=config.grey)
        return cameras.StoredClouds(path, key, rows, config.grey), arrays_digest(values)
    if config.clouds == "stored":
        raise UserError(
            f"{path}: has no point clouds; set clouds = 'depth' if it has depth, else 'none'"
        )
    names = tuple(cameras_with_depth(layout, config))
    if not names and config.clouds == "auto":
        return None, None
    return _from_depth(path, layout, config, rows, names)


def cameras_with_depth(layout: Layout, config: Robotwin) -> Iterator[str]:
    """Yield the cameras whose depth is converted to a point cloud."""
    for name in config.depth_views:
        camera = layout.cameras.get(name)
        if config.cloud_cameras or config.clouds == "depth" or (camera and camera.depth):
            yield name


def _from_depth(
    path: Path, layout: Layout, config: Robotwin, rows: Rows, names: tuple[str, ...]
) -> tuple[Sequence[PointCloud], Any]:
    image_keys(path, layout, names)
    parts = []
    for name in names:
        camera = layout.cameras[name]
        cameras.intrinsics(path, camera, 0)
        cameras.extrinsics(path, layout, name, 0)
        cameras.depth(path, camera, 0)
        keys = (camera.rgb, camera.depth, camera.intrinsics, camera.extrinsics)
        for key in filter(None, keys):  # all exist: they were read above
            if len(hdf5.array_info(path, key).shape) == 2:  # one matrix for all frames
                parts.append(arrays_digest(hdf5.read(path, key)))
            else:
                _check_length(path, key, rows)
                parts.append(_digest_rows(path, key, rows))
    clouds = cameras.DepthClouds(
        path=path,
        layout=layout,
        names=names,
        rows=rows,
        low=config.crop_low,
        high=config.crop_high,
        points=config.cloud_points,
        grey=config.grey,
    )
    made = [parts, list(names), config.crop_low, config.crop_high, config.cloud_points]
    return clouds, [*made, "grey"] if config.grey else made


def _digest_rows(path: Path, key: str, rows: Rows) -> str:
    """Return the digest of some rows of an array, read in blocks because depth is large."""
    digests = []
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        low, high = int(block[0]), int(block[-1]) + 1
        digests.append(arrays_digest(hdf5.read(path, key, slice(low, high))[block - low]))
    return key_of(digests)


def _joined(parts: Sequence[bytes]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()
