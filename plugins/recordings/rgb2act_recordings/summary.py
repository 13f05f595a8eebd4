"""Summarize a data set: all numbers and encoded images are read, few images are decoded.

Shapes: R = recorded frames, A = action dimensions, N = images
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.interfaces import DatasetSummary, Environment, EpisodeOverview
from rgb2act_core.recordings import cameras_of_one_size, describe_actions, unit_keys

from .config import Recordings
from .episode_reader import read_camera, read_motion
from .formats.data_set import Array, DataSet, is_images, is_numbers
from .frames import Camera, RecordedFrames
from .selection import Selection, select, width_of

SHOWN = 6  # frames per row of the contact sheet
ASSUMED_HZ = 10.0  # written into specs of formats without a rate; that of PushT


@attrs.define(eq=False, kw_only=True)
class _Report:
    """What is found in one episode."""

    name: str
    path: str
    frames: int = 0
    joints: NDArray[np.float32] | None = None  # (R, A)
    actions: NDArray[np.float32] | None = None  # (R, A)
    cameras: dict[str, Camera] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)


@attrs.frozen(eq=False, kw_only=True)
class _Found:
    """The reports on all episodes, and the keys of a spec for them."""

    data_set: DataSet
    keys: Mapping[str, Any]
    selection: Selection | None
    mismatch: str  # why joints and actions do not fit together
    reports: tuple[_Report, ...]

    @property
    def valid(self) -> list[_Report]:
        """The reports without problems."""
        return [report for report in self.reports if not report.problems]

    @property
    def cameras(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Image sizes by camera."""
        sizes: dict[str, set[tuple[int, int]]] = {}
        for report in self.reports:
            for name, camera in report.cameras.items():
                sizes.setdefault(name, set()).add(camera.size)
        return {name: tuple(sorted(found)) for name, found in sizes.items()}


def summarize(data_set: DataSet) -> DatasetSummary:
    """Return a summary of a data set."""
    keys, selection, mismatch = _selected(data_set)
    config = Recordings(data=data_set.path, **keys)
    reports = tuple(_report(data_set, name, selection, config) for name in data_set.names)
    found = _Found(
        data_set=data_set, keys=keys, selection=selection, mismatch=mismatch, reports=reports
    )
    path = data_set.path
    files = path.rglob("*") if path.is_dir() else [path]
    return DatasetSummary(
        path=str(path),
        episodes=tuple(_overview(data_set, report) for report in reports),
        cameras=found.cameras,
        actions=tuple(_ranges(found)),
        missing=data_set.missing,
        facts=tuple(_facts(found)),
        bytes=sum(file.stat().st_size for file in files if file.is_file()),
        environment=_table(found),
        clouds=False,
        images=lambda: _sample_images(found),
        environments=lambda: _environments(found),
    )


def _selected(data_set: DataSet) -> tuple[dict[str, Any], Selection | None, str]:
    """Return keys that make joints and actions fit, what they select, and why nothing does."""
    message = "no episode can be read"
    for name in data_set.names:
        try:
            arrays = data_set.arrays(name)
        except UserError:
            continue
        keys = _motion_keys(data_set, arrays)
        try:
            return keys, select(data_set, arrays, Recordings(data=data_set.path, **keys)), ""
        except UserError as err:
            message = "; ".join(map(str, err.args))
            break
    return {}, None, message


def _motion_keys(data_set: DataSet, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return ``joints`` or ``actions`` if the usual joints do not fit the actions."""
    joints, action = data_set.usual_joints(arrays), arrays.get(data_set.action)
    if data_set.controller or action is None:
        return {"actions": "next_state"}
    if len(joints) == 1 and joints[0] in arrays and is_numbers(arrays[joints[0]]):
        width, wanted = width_of(arrays[joints[0]]), width_of(action)
        if wanted < width:  # the state of objects follows that of the robot, as in PushT
            return {"joints": (f"{joints[0]}[0:{wanted}]",)}
    widths = [width_of(arrays[key]) for key in joints]
    return {"actions": "next_state"} if joints and sum(widths) != width_of(action) else {}


def _report(
    data_set: DataSet, name: str, selection: Selection | None, config: Recordings
) -> _Report:
    report = _Report(name=name, path=str(data_set.file(name)))
    try:
        arrays = data_set.arrays(name)
        action = arrays.get(data_set.action)
        report.frames = action.shape[0] if action is not None and action.shape else 0
        if selection is None:
            return report
        joints, actions = read_motion(data_set, name, arrays, selection)
        report.frames, report.joints = len(joints), joints
        following = np.concatenate([joints[1:], joints[-1:]])
        report.actions = following if actions is None else actions
    except UserError as err:
        report.problems += map(str, err.args)
        return report
    wanted = dict.fromkeys([*selection.cameras, *(k for k, a in arrays.items() if is_images(a))])
    for key in wanted:
        try:
            report.cameras[key] = read_camera(data_set, name, arrays, key, report.frames)
        except UserError as err:
            report.problems += map(str, err.args)
    return report


def _overview(data_set: DataSet, report: _Report) -> EpisodeOverview:
    try:
        text = data_set.text(report.name)
    except UserError as err:
        text = ""
        report.problems += map(str, err.args)
    return EpisodeOverview(
        name=report.name,
        task=text or data_set.task,
        path=report.path,
        layout=data_set.layout,
        frames=report.frames,
        problems=tuple(dict.fromkeys(report.problems)),
    )


def _ranges(found: _Found) -> Iterator[tuple[str, float, float]]:
    actions = [report.actions for report in found.reports if report.actions is not None]
    if actions and found.selection:
        low_A = np.min([array_RA.min(axis=0) for array_RA in actions], axis=0)
        high_A = np.max([array_RA.max(axis=0) for array_RA in actions], axis=0)
        for name, low, high in zip(found.selection.names, low_A, high_A, strict=True):
            yield name, float(low), float(high)


def _facts(found: _Found) -> Iterator[tuple[str, str]]:
    data_set = found.data_set
    yield from data_set.facts()
    rate = f"{data_set.rate:g} Hz" if data_set.rate else "not recorded; set control_hz"
    yield "frame rate", rate
    lengths = sorted(report.frames for report in found.valid)
    if lengths:
        yield "episode length", f"{lengths[0]} to {lengths[-1]} frames"
    if found.mismatch:
        yield "joints and actions", found.mismatch
    if found.selection is None:
        return
    yield "joints are", ", ".join(f"{c.key}[{c.first}:{c.last}]" for c in found.selection.joints)
    if not found.selection.action:
        why = data_set.controller or "other values than joints"
        yield "action is", f"not used ({why}): the joints of the next frame replace it"
        return
    pairs = [(r.joints, r.actions) for r in found.valid]
    yield (
        "action is",
        describe_actions([(j, a) for j, a in pairs if j is not None and a is not None]),
    )


def _table(found: _Found) -> dict[str, Any]:
    """Return the [environment] table for the intact episodes."""
    table: dict[str, Any] = {"use": "recordings", "data": found.data_set.path.resolve()}
    table |= {k: list(v) if isinstance(v, tuple) else v for k, v in found.keys.items()}
    if len(names := cameras_of_one_size(found.cameras)) < len(found.cameras):
        table["cameras"] = list(names)
    table |= _units(found)
    if found.data_set.rate is None:
        table["control_hz"] = ASSUMED_HZ
    if damaged := [report.name for report in found.reports if report.problems]:
        table["skip"] = damaged
    return table


def _units(found: _Found) -> dict[str, Any]:
    if found.selection is None:
        return {}
    joints = [report.joints for report in found.valid if report.joints is not None]
    keys = unit_keys(joints, found.selection.names)
    if keys.get("units") == "degrees" and np.abs(np.concatenate(joints)).max() > 360:
        keys["units"] = "other"  # pixels, such as those of PushT
    return keys


def _environments(found: _Found) -> Iterator[Environment]:
    """Open the intact episodes with all cameras of the most frequent size."""
    from .environment import RecordingsEnvironment

    if not found.valid or not found.selection:
        return
    table = _table(found)
    options: dict[str, Any] = {"control_hz": table.get("control_hz"), **found.keys}
    options |= {k: tuple(v) if isinstance(v, list) else v for k, v in _units(found).items()}
    config = Recordings(
        data=found.data_set.path, cameras=cameras_of_one_size(found.cameras), **options
    )
    environment: Any = RecordingsEnvironment(
        config, found.data_set, [report.name for report in found.valid]
    )
    yield environment


def _sample_images(found: _Found) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield frames of each camera of the first intact episode."""
    for report in found.valid[:1]:
        rows = np.unique(np.linspace(0, report.frames - 1, SHOWN).astype(np.int64))
        for name, camera in report.cameras.items():
            images = RecordedFrames(cameras=(camera,), rows=rows, size=camera.size)
            yield f"{report.name} {name}", images[:][:, 0]
