"""Which arrays of a data set are cameras, joints and actions.

Shapes: A = action dimensions
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from rgb2act_core import UserError, did_you_mean

from .config import COLUMNS, Recordings
from .formats.aloha import NAMES
from .formats.data_set import Array, DataSet, is_images, is_numbers


@attrs.frozen(kw_only=True)
class Columns:
    """Some columns of an array."""

    key: str
    first: int
    last: int  # the column after them


@attrs.frozen(kw_only=True)
class Selection:
    """The arrays that are read of each episode."""

    cameras: tuple[str, ...]
    joints: tuple[Columns, ...]
    action: str  # empty if the joints of the next frame replace the actions
    names: tuple[str, ...]  # (A,)
    states: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """All arrays, each once."""
        parts = [c.key for c in self.joints], [self.action] if self.action else []
        return tuple(dict.fromkeys([*self.cameras, *parts[0], *parts[1], *self.states]))


def select(data_set: DataSet, arrays: Mapping[str, Array], config: Recordings) -> Selection:
    """Return the arrays to read, from those of one episode.

    Raises UserError for a key that is missing, and for joints and actions of different lengths.
    """
    cameras = _cameras(data_set, arrays, config)
    joints = _joints(data_set, arrays, config)
    for key in config.states:
        _numbers(data_set, arrays, key, "states")
    width = sum(columns.last - columns.first for columns in joints)
    action = "" if config.actions == "next_state" else _action(data_set, arrays, joints, width)
    return Selection(
        cameras=cameras,
        joints=joints,
        action=action,
        names=_names(data_set, config, width),
        states=config.states,
    )


def width_of(array: Array) -> int:
    """Return the number of values of each frame."""
    return array.shape[1] if len(array.shape) == 2 else 1


def _cameras(data_set: DataSet, arrays: Mapping[str, Array], config: Recordings) -> tuple[str, ...]:
    known = tuple(key for key, array in arrays.items() if is_images(array))
    for name in config.cameras:
        if name not in known:
            raise _missing(data_set, "cameras", name, known, "no camera")
    if not known:
        reasons = "".join(f"; {reason}" for reason in data_set.unread.values())
        raise UserError(
            f"{data_set.path}: has no camera; give a data set with arrays of RGB images{reasons}"
        )
    return config.cameras or known


def _joints(
    data_set: DataSet, arrays: Mapping[str, Array], config: Recordings
) -> tuple[Columns, ...]:
    texts = config.joints or data_set.usual_joints(arrays)
    if not texts:
        known = ", ".join(key for key, array in arrays.items() if is_numbers(array))
        raise UserError(
            f"{data_set.path}: has no array that usually is joints; name it with [environment]"
            f" joints, from {known or 'none'}"
        )
    found = []
    for text in texts:
        match = COLUMNS.fullmatch(text)
        assert match is not None
        width = width_of(_numbers(data_set, arrays, match["key"], "joints"))
        first, last = int(match["first"] or 0), int(match["last"] or width)
        if not first < last <= width:
            raise UserError(
                f"recordings.joints: {text!r} is not within the {width} columns of {match['key']};"
                " give the first column and the one after the last"
            )
        found.append(Columns(key=match["key"], first=first, last=last))
    return tuple(found)


def _action(
    data_set: DataSet, arrays: Mapping[str, Array], joints: tuple[Columns, ...], width: int
) -> str:
    if data_set.controller:
        raise UserError(
            f"{data_set.path}: actions are commands of the controller {data_set.controller}, which"
            " are no joint targets; set [environment] actions = 'next_state'"
        )
    found = width_of(_numbers(data_set, arrays, data_set.action, "actions"))
    if found != width:
        listed = ", ".join(f"{c.key}[{c.first}:{c.last}]" for c in joints)
        raise UserError(
            f"{data_set.path}: {data_set.action} has {found} values, the joints {width} ({listed});"
            " choose as many columns with [environment] joints, or set actions = 'next_state'"
        )
    return data_set.action


def _names(data_set: DataSet, config: Recordings, width: int) -> tuple[str, ...]:
    if config.action_names:
        if len(config.action_names) != width:
            raise UserError(
                f"recordings.action_names: has {len(config.action_names)} names for {width} joints;"
                " give one name for each"
            )
        return config.action_names
    if width == len(NAMES) and data_set.layout.startswith("ALOHA"):
        return NAMES
    return tuple(f"joint_{i}" for i in range(width))


def _numbers(data_set: DataSet, arrays: Mapping[str, Array], key: str, field: str) -> Array:
    known = [name for name, array in arrays.items() if is_numbers(array)]
    if key not in known:
        raise _missing(data_set, field, key, tuple(known), "no array of numbers")
    return arrays[key]


def _missing(
    data_set: DataSet, field: str, key: str, known: tuple[str, ...], what: str
) -> UserError:
    if key in data_set.unread:
        return UserError(data_set.unread[key])
    return UserError(
        f"recordings.{field}: {data_set.path} has {what} {key!r}{did_you_mean(key, known)}; choose"
        f" from {', '.join(known) or 'none'}"
    )
