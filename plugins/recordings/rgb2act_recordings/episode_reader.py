"""Read one episode: numbers at once, images on access.

Shapes: T = kept frames, R = recorded frames, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import Problems, UserError, arrays_digest, key_of
from rgb2act_core.interfaces import Episode
from rgb2act_core.recordings import common_size, joints_and_actions, kept_rows

from .config import Recordings
from .formats.data_set import REMEDY, Array, DataSet, is_images, is_numbers
from .frames import Camera, RecordedFrames, check_encoded, open_camera
from .selection import Selection, width_of

VERSION = 1  # raise when the same files give other numbers
Floats = NDArray[np.float32]


def read_episode(
    data_set: DataSet,
    name: str,
    selection: Selection,
    config: Recordings,
    task: str,
    image: tuple[int, int],
) -> Episode:
    """Return an episode whose images have the height and width ``image``.

    Raises UserError with all problems of its files.
    """
    arrays = data_set.arrays(name)
    joints_RA, actions_RA = read_motion(data_set, name, arrays, selection)
    problems, cameras = Problems(), dict[str, Camera]()
    for key in selection.cameras:
        with problems.collected():
            cameras[key] = read_camera(data_set, name, arrays, key, len(joints_RA))
    with problems.collected():
        states = {
            key: _numbers(data_set, name, arrays, key, len(joints_RA)) for key in selection.states
        }
    problems.raise_any()
    joints, actions = joints_and_actions(joints_RA, actions_RA, selection.names, config)
    kept = kept_rows(len(joints_RA), config.stride)
    text = config.instruction or data_set.text(name) or task.replace("_", " ")
    sizes = {key: camera.size for key, camera in cameras.items()}
    source = f"{data_set.file(name)}: {name}"
    if (size := common_size(source, sizes, config.resize)) != image:
        raise UserError(
            f"{source}: has images of {size[0]}x{size[1]} pixels, other episodes of"
            f" {image[0]}x{image[1]}; set [environment] resize, or {REMEDY}"
        )
    return Episode(
        name=name,
        task=task,
        instruction=text,
        cameras=selection.cameras,
        rgb=RecordedFrames(
            cameras=tuple(cameras.values()), rows=kept, size=size, bgr=config.colours == "bgr"
        ),
        joints=joints,
        actions=actions,
        clouds=None,
        state={key: np.ascontiguousarray(values[kept]) for key, values in states.items()},
        digest=key_of(
            {
                "reader": VERSION,
                "names": [name, task, text, *selection.cameras, *selection.names],
                "files": data_set.digest(name, selection.keys),
                "size": list(size),
                "colours": config.colours,
                "motion": arrays_digest(kept, joints, actions),
                "states": list(selection.states),
            }
        ),
    )


def read_motion(
    data_set: DataSet, name: str, arrays: Mapping[str, Array], selection: Selection
) -> tuple[Floats, Floats | None]:
    """Return joints and recorded actions (R, A); no actions if those are the next joints."""
    first = selection.action or selection.joints[0].key
    length = arrays[first].shape[0] if first in arrays else 0
    parts = []
    for columns in selection.joints:
        found = _numbers(data_set, name, arrays, columns.key, length)
        if found.shape[1] < columns.last:
            raise UserError(
                f"{arrays[columns.key].label}: {name}: has {found.shape[1]} columns, column"
                f" {columns.last - 1} is needed; {REMEDY}"
            )
        parts.append(found[:, columns.first : columns.last])
    joints_RA = np.concatenate(parts, axis=1)
    if not selection.action:
        return joints_RA, None
    actions_RA = _numbers(data_set, name, arrays, selection.action, length)
    if actions_RA.shape[1] != joints_RA.shape[1]:
        raise UserError(
            f"{arrays[selection.action].label}: {name}: has {actions_RA.shape[1]} values, other"
            f" episodes {joints_RA.shape[1]}; {REMEDY}"
        )
    return joints_RA, actions_RA


def read_camera(
    data_set: DataSet, name: str, arrays: Mapping[str, Array], key: str, length: int
) -> Camera:
    """Return a camera of an episode with one image per frame, each checked to be complete."""
    array = arrays.get(key)
    if array is None or not is_images(array):
        raise UserError(f"{data_set.file(name)}: {name}: has no camera {key!r}; {REMEDY}")
    _check_length(name, array, length)
    if array.encoded:
        check_encoded(array)
    return open_camera(array)


def _numbers(
    data_set: DataSet, name: str, arrays: Mapping[str, Array], key: str, length: int
) -> Floats:
    """Return an array as float32 (R, D). Raises UserError that names a frame with NaN."""
    array = arrays.get(key)
    if array is None or not is_numbers(array):
        raise UserError(f"{data_set.file(name)}: {name}: has no array of numbers {key!r}; {REMEDY}")
    _check_length(name, array, length)
    with np.errstate(over="ignore"):
        found = array.rows(0, length).astype(np.float32).reshape(length, width_of(array))
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{array.label}: {name}: frame {wrong[0]}: contains NaN or infinity; {REMEDY}"
        )
    return found


def _check_length(name: str, array: Array, length: int) -> None:
    if array.shape[0] != length or not length:
        raise UserError(
            f"{array.label}: {name}: has {array.shape[0]} frames, the actions {length}; {REMEDY}"
        )
