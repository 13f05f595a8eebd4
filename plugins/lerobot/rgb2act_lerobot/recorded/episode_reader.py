"""Read one episode: numbers and the places of its frames at once, images on access.

Shapes: T = kept frames, R = recorded frames, A = action dimensions
"""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import Problems, UserError, arrays_digest, did_you_mean, key_of
from rgb2act_core.interfaces import Episode
from rgb2act_core.recordings import common_size, joints_and_actions, kept_rows

from ..config import LeRobot
from .depth import DepthClouds, DepthView, RecordedDepth, depth_keys
from .episode_table import EpisodeEntry, Listing
from .files import REMEDY
from .frames import Clip, RecordedFrames, sizes_of
from .motion import matching
from .parquet import read_arrays
from .schema import ACTION, STATE, SUCCESS, Feature, Schema
from .stored_images import open_images
from .videos import open_clip

VERSION = 1  # raise when the same files give other numbers
INDEX = ("episode_index", "frame_index", "timestamp", "task_index")
NUMBERS = ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8")


@attrs.frozen(eq=False, kw_only=True)
class Rows:
    """The numbers of an episode, sorted by frame."""

    columns: dict[str, NDArray[Any]]  # each (R, ...)

    @property
    def task(self) -> int:
        """The task of the first frame."""
        return int(self.columns["task_index"].reshape(-1)[0])

    @property
    def later_task(self) -> int | None:
        """The first frame with another task than the first one; None if there is none."""
        tasks = self.columns["task_index"].reshape(-1)
        changed = np.flatnonzero(tasks != tasks[0])
        return int(changed[0]) if len(changed) else None


def camera_keys(schema: Schema, names: tuple[str, ...]) -> dict[str, str]:
    """Return the keys of cameras by the names of the spec; all cameras if it names none.

    Raises UserError for a camera that the data set does not have.
    """
    known = schema.cameras
    keys = {}
    for name in names or known:
        if name in known:
            keys[name] = known[name]
        elif name in known.values():
            keys[name] = name
        else:
            depth = " (it is a depth camera)" if name in schema.depth_cameras else ""
            raise UserError(
                f"{schema.root}: there is no camera {name!r}{depth}{did_you_mean(name, known)};"
                f" choose from {', '.join(known) or 'none'} in [environment] cameras"
            )
    if not keys:
        raise UserError(f"{schema.root}: has no camera; give a data set with videos or images")
    return keys


def read_rows(schema: Schema, entry: EpisodeEntry, names: tuple[str, ...] = ()) -> Rows:
    """Return the index columns of an episode and ``names``, found by its number.

    Raises UserError if they are not frames 0 to ``length`` - 1.
    """
    wanted = tuple(dict.fromkeys((*INDEX, *names)))
    columns = read_arrays(entry.data, schema.root, wanted)
    chosen = np.flatnonzero(columns["episode_index"].reshape(-1) == entry.index)
    if len(chosen) != entry.length:
        raise UserError(
            f"{entry.data}: {entry.name}: has {len(chosen)} rows, but the episode table lists"
            f" {entry.length} frames; {REMEDY}"
        )
    frames = columns["frame_index"].reshape(-1)[chosen]
    order = np.argsort(frames, kind="stable")
    wrong = np.flatnonzero(frames[order] != np.arange(entry.length))
    if len(wrong):
        raise UserError(
            f"{entry.data}: {entry.name}: frame {wrong[0]}: is missing or stored twice; {REMEDY}"
        )
    return Rows(columns={name: columns[name][chosen[order]] for name in wanted})


def open_camera(schema: Schema, entry: EpisodeEntry, name: str, key: str) -> Clip:
    """Return the frames of a camera in an episode, each checked to be in its place."""
    label = f"{entry.name}: camera {name!r}"
    if schema.features[key].dtype == "image":
        return open_images(entry.data, schema.root, key, entry.index, label, entry.length)
    clip = entry.clips[key]
    return open_clip(clip.path, schema.root, label, clip.start, entry.length, schema.fps)


def succeeded(schema: Schema, entry: EpisodeEntry) -> bool:
    """Return whether ``next.success`` is true in a frame."""
    if SUCCESS not in schema.features:
        raise UserError(
            f"{schema.root}: has no feature {SUCCESS}; set [environment] successful_only = false"
        )
    return bool(read_rows(schema, entry, (SUCCESS,)).columns[SUCCESS].any())


def read_episode(listing: Listing, entry: EpisodeEntry, config: LeRobot, task: str) -> Episode:
    """Return an episode. Raises UserError with all problems of its files."""
    schema = listing.schema
    states = _states(schema, config)
    match = matching(schema, config)
    keys = camera_keys(schema, config.cameras)
    problems, clips = Problems(), list[Clip]()
    for name, key in keys.items():
        with problems.collected():
            clips.append(open_camera(schema, entry, name, key))
    with problems.collected():
        views = _depth_views(schema, entry, config)
        rows = read_rows(schema, entry, (STATE, ACTION, *states))
        numbers = read_numbers(schema, entry, rows, (STATE, ACTION, *states))
        text = _instruction(listing, entry, rows.task)
    problems.raise_any()
    joints, actions = joints_and_actions(
        numbers[STATE][:, list(match.state_index)], numbers[ACTION], match.names, config
    )
    kept = kept_rows(entry.length, config.stride)
    state = {key: np.ascontiguousarray(numbers[key][kept]) for key in states}
    size = common_size(f"{clips[0].path}: {clips[0].label}", sizes_of(keys, clips), config.resize)
    names = [entry.name, task, text, *keys, *match.names]
    return Episode(
        name=entry.name,
        task=task,
        instruction=text,
        cameras=tuple(keys),
        rgb=RecordedFrames(clips=tuple(clips), rows=kept, size=size),
        joints=joints,
        actions=actions,
        clouds=_clouds(views, kept, config),
        state=state,
        times=rows.columns["timestamp"].reshape(-1)[kept].astype(np.float64),
        depth={
            name: RecordedDepth(
                info=schema.features[key].info,
                open=partial(open_camera, schema, entry, name, key),
                rows=kept,
            )
            for name, key in schema.depth_cameras.items()
        },
        digest=key_of(
            {
                "reader": VERSION,
                "names": names,
                "frames": [clip.digest for clip in clips],
                "size": list(size),
                "motion": arrays_digest(kept, joints, actions),
                "states": arrays_digest(*state.values()),
                "clouds": _clouds_identity(views, config),
            }
        ),
    )


def _depth_views(schema: Schema, entry: EpisodeEntry, config: LeRobot) -> tuple[DepthView, ...]:
    views = []
    for camera, key in zip(config.depth, depth_keys(schema, config), strict=True):
        colours = camera_keys(schema, (camera.colours,)) if camera.colours else {}
        clips = [open_camera(schema, entry, name, key) for name, key in colours.items()]
        views.append(
            DepthView(
                camera=camera,
                info=schema.features[key].info,
                depth=open_camera(schema, entry, camera.camera, key),
                colours=clips[0] if clips else None,
            )
        )
    return tuple(views)


def _clouds(
    views: tuple[DepthView, ...], kept: NDArray[np.int64], config: LeRobot
) -> DepthClouds | None:
    if not views:
        return None
    return DepthClouds(
        views=views,
        rows=kept,
        low=config.crop_low,
        high=config.crop_high,
        points=config.cloud_points,
    )


def _clouds_identity(views: tuple[DepthView, ...], config: LeRobot) -> list[Any]:
    """Return what identifies the content of point clouds; empty without them."""
    if not views:
        return []
    cameras = [[*view.camera.intrinsics, *map(list, view.camera.pose)] for view in views]
    digests = [[view.depth.digest, view.colours and view.colours.digest] for view in views]
    scales = [{str(k): str(v) for k, v in sorted(view.info.items())} for view in views]
    crop = [list(config.crop_low), list(config.crop_high), config.cloud_points]
    return [cameras, digests, scales, crop]


def _states(schema: Schema, config: LeRobot) -> tuple[str, ...]:
    """Return the features to read as states. Raises UserError for one that is no numbers."""
    usable = {f.key: f for f in schema.features.values() if f.dtype in NUMBERS}
    for key in config.states:
        if key not in usable:
            raise UserError(
                f"lerobot.states: there is no feature of numbers {key!r}"
                f"{did_you_mean(key, usable)}; choose from {', '.join(usable)}"
            )
    return config.states


def read_numbers(
    schema: Schema, entry: EpisodeEntry, rows: Rows, keys: tuple[str, ...]
) -> dict[str, NDArray[np.float32]]:
    """Return features as float32 (R, ...). Raises UserError that names a frame with NaN."""
    return {key: _finite(entry, key, rows.columns[key], schema.features[key]) for key in keys}


def _finite(
    entry: EpisodeEntry, key: str, values: NDArray[Any], feature: Feature
) -> NDArray[np.float32]:
    """Return values as float32 (R, ...). Raises UserError that names a frame with others."""
    flat = values.reshape(len(values), -1)
    if flat.shape[1] != feature.width:
        raise UserError(
            f"{entry.data}: {key}: has {flat.shape[1]} values per frame, meta/info.json declares"
            f" {feature.width}; {REMEDY}"
        )
    with np.errstate(over="ignore"):
        numbers = flat.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{entry.data}: {entry.name}: frame {wrong[0]}: {key} contains NaN or infinity;"
            f" {REMEDY}"
        )
    return numbers if key in (STATE, ACTION) else numbers.reshape(len(values), *feature.shape)


def _instruction(listing: Listing, entry: EpisodeEntry, task: int) -> str:
    if task not in listing.tasks:
        raise UserError(
            f"{entry.data}: {entry.name}: frame 0: task_index is {task}, which the list of tasks in"
            f" meta does not have; {REMEDY}"
        )
    return listing.tasks[task]
