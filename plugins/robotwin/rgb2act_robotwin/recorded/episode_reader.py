"""Read one recorded episode: what is small is checked at once, what is large when looked at.

Shapes: R = rows of the file, T = frames of the episode, A = 14 action dims
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgb2act_core.errors import UserError, near
from rgb2act_core.interfaces import Episode, Frames, PointCloud
from rgb2act_core.store.file_digests import file_digest
from rgb2act_core.store.keys import key_of

from ..config import CAMERAS, Robotwin, camera_name
from . import cameras, hdf5, image_folders, instructions
from .episode_index import Place
from .hdf5 import AGAIN
from .images import StoredImages, scan
from .joint_states import Motion, motion_of
from .layouts import SAVE_FREQUENCY, STEP_HZ, Layout, layout_of

VERSION = 1  # raise when the same file begins to give other numbers
MARK = "duplicate"
BLOCK = 16  # rows digested at once


def read(place: Place, config: Robotwin) -> Episode:
    """Return an episode; UserError tells all that is wrong with it.

    Joints are the drive targets that RoboTwin records, not measured positions; actions are the
    next frame's, so the last frame of a legacy file is left out, as RoboTwin's converters do.
    """
    with hdf5.opened(place.path):
        return _read(place, config)


def _read(place: Place, config: Robotwin) -> Episode:
    layout = layout_of(place.path)
    problems: list[str] = []

    def attempt(call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except UserError as err:
            problems.extend(str(arg) for arg in err.args)
            return None

    motion: Motion | None = attempt(motion_of, place.path, layout, config.duplicates)
    text: str | None = attempt(instructions.instruction, place, layout, config)
    count = None if motion is None else int(motion.rows[-1]) + 1
    seen = attempt(_frames, place, layout, config, motion, count)
    shown = attempt(_clouds, place, layout, config, motion, count)
    if problems or motion is None or text is None:
        raise UserError(*problems)
    frames, digests = seen
    clouds, more = shown
    return Episode(
        name=place.name,
        task=config.task,
        instruction=text,
        cameras=config.views,
        rgb=frames,
        joints=motion.joints,
        actions=motion.actions,
        clouds=clouds,
        state={MARK: motion.repeats.astype(np.float32)} if config.duplicates == "mark" else {},
        seed=seed_of(place),
        digest=key_of(
            {
                "reader": VERSION,
                "names": [place.name, config.task, text, *config.views],
                "frames": digests,
                "clouds": more,
                "motion": digest(motion.rows, motion.joints, motion.actions),
                "marked": config.duplicates == "mark",
            }
        ),
    )


def seed_of(place: Place) -> int | None:
    """Return the seed of an episode's scene, as ``seed.txt`` beside its folder tells."""
    try:
        seeds = (place.folder / "seed.txt").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    told = seeds[place.number] if place.number < len(seeds) else ""
    return int(told) if told.isdecimal() else None


def frequency(path: Path, layout: Layout) -> float:
    """Return frames a second; the file's ``frequency`` counts simulator steps a frame."""
    key, saved = layout.frequency, SAVE_FREQUENCY
    with hdf5.opened(path) as file:
        value = np.array(hdf5.read(path, key) if key is not None and key in file else saved)
    if value.size == 1 and value.dtype.kind in "iu" and 0 < value.item() <= STEP_HZ:
        saved = value.item()
    return STEP_HZ / saved


def keys_of(path: Path, layout: Layout, names: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of some cameras' images; UserError for one that the file has not."""
    for name in names:
        if name not in layout.cameras:
            held = ", ".join(layout.cameras) or "none"
            hint = "" if name in CAMERAS else near(name, layout.cameras)
            raise UserError(
                f"{path}: camera {name!r} is missing{hint}; it has {held};"
                " name others in [environment] cameras, or leave the episode out with skip"
            )
    return tuple(layout.cameras[name].rgb for name in names)


def _frames(
    place: Place, layout: Layout, config: Robotwin, motion: Motion | None, count: int | None
) -> tuple[Frames, list[str]] | None:
    """Return the frames, and digests of the bytes they are read from."""
    if config.frames is not None:
        if motion is None:
            return None
        rows = hdf5.array(place.path, layout.state[0]).rows
        found = image_folders.images(config.frames, config, place, rows, motion.rows)
        return found, [file_digest(path) for files in found.paths for path in files]
    keys = keys_of(place.path, layout, config.views)
    sizes, digests = [], []
    for key in keys:
        have = hdf5.array(place.path, key).rows
        if count is not None and have < count:
            raise UserError(f"{place.path}: {key}: has {have} frames for {count} steps; {AGAIN}")
        data, heads = scan(place.path, key, have if count is None else count)
        if not heads:
            raise UserError(f"{place.path}: {key}: has no frames; {AGAIN}")
        sizes.append((heads[0].height, heads[0].width))
        digests.append(_joined(data))
    if len(set(sizes)) > 1:
        raise UserError(
            f"{place.path}: cameras {config.views!r} have sizes {sizes!r}; choose cameras of one"
            " size in [environment] cameras"
        )
    rows_T = np.arange(0) if motion is None else motion.rows
    return StoredImages(place.path, keys, rows_T, sizes[0]), digests


def _clouds(
    place: Place, layout: Layout, config: Robotwin, motion: Motion | None, count: int | None
) -> tuple[Sequence[PointCloud] | None, Any]:
    """Return the clouds, and what identifies them."""
    if motion is None or count is None or config.clouds == "none":
        return None, None
    if config.points is not None:
        rows = hdf5.array(place.path, layout.state[0]).rows
        paired = image_folders.clouds(config.points, config, place, rows, motion.rows)
        return paired, [file_digest(path) for path in paired.paths]
    path, key = place.path, layout.clouds
    if key is not None and config.clouds in ("auto", "stored"):
        held = cameras.check_rows(path, key, count)
        return cameras.StoredClouds(path, key, motion.rows), digest(held)
    if config.clouds == "stored":
        raise UserError(
            f"{path}: holds no point clouds; set clouds = 'depth' if it has depth, or 'none'"
        )
    names = tuple(cameras_with_depth(layout, config))
    if not names and config.clouds == "auto":
        return None, None
    return _from_depth(path, layout, config, motion, count, names)


def cameras_with_depth(layout: Layout, config: Robotwin) -> Iterator[str]:
    """Yield the cameras whose depth becomes a cloud."""
    wanted = tuple(camera_name(name) for name in config.cloud_cameras) or config.views
    for name in wanted:
        camera = layout.cameras.get(name)
        if config.cloud_cameras or config.clouds == "depth" or (camera and camera.depth):
            yield name


def _from_depth(
    path: Path,
    layout: Layout,
    config: Robotwin,
    motion: Motion,
    count: int,
    names: tuple[str, ...],
) -> tuple[Sequence[PointCloud], Any]:
    keys_of(path, layout, names)
    parts = []
    for name in names:
        camera = layout.cameras[name]
        cameras.intrinsics(path, camera, 0)
        cameras.extrinsics(path, layout, name, 0)
        cameras.depth(path, camera, 0)
        for key in (camera.rgb, camera.depth, camera.intrinsics, camera.extrinsics):
            assert key is not None
            have = hdf5.array(path, key).rows
            if have < count:
                raise UserError(f"{path}: {key}: has {have} frames for {count} steps; {AGAIN}")
            parts.append(_digest_rows(path, key, count))
    made = cameras.DepthClouds(
        path=path,
        layout=layout,
        names=names,
        rows=motion.rows,
        low=config.crop_low,
        high=config.crop_high,
        points=config.cloud_points,
    )
    return made, [parts, list(names), config.crop_low, config.crop_high, config.cloud_points]


def digest(*arrays: NDArray[Any]) -> str:
    """Return the digest of arrays' shapes, types and values."""
    state = hashlib.blake2b(digest_size=16)
    for array in arrays:
        state.update(f"{array.dtype.str} {array.shape}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _digest_rows(path: Path, key: str, count: int) -> str:
    """Return the digest of an array's first rows, read in blocks: depth is large."""
    if len(hdf5.array(path, key).shape) == 2:  # one matrix for all frames
        return digest(hdf5.read(path, key))
    blocks = range(0, count, BLOCK)
    return key_of([digest(hdf5.read(path, key, slice(i, min(i + BLOCK, count)))) for i in blocks])


def _joined(parts: Sequence[bytes]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()
