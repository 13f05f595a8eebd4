"""Check, digest, write and read episodes, each stored as a zarr v3 group (see docs/store.md).

Shapes: T = steps, V = cameras, H W = pixels, A = action dimensions, P = points of one cloud,
Q = points of all clouds
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..interfaces import Episode, PointCloud
from ..pointclouds.lazy import LazyClouds
from ..store.array_format import array_digest
from ..store.files import json_digest
from ..store.group_reader import Group, read_group
from ..store.group_writer import GroupWriter, first_unfinite

_FORMAT = {"format": "rgb2act episode", "version": 1}
_TEXTS = ("name", "task", "instruction")
_RGB = ("time", "camera", "y", "x", "channel")
_DIMS = {
    "joints": ("time", "joint"),
    "actions": ("time", "joint"),
    "points/xyz": ("point", "axis"),
    "points/rgb": ("point", "channel"),
    "points/offsets": (),
}
_POINTS = {"xyz": "float32", "rgb": "uint8", "offsets": "int64"}
_BLOCK = 16  # frames read at once: bounds memory, amortises the cost of a call


def write_episode(path: Path, episode: Episode, *, extra: Mapping[str, Any]) -> str:
    """Check an episode, store it as a group that appears only when complete, return its digest.

    ``extra`` (seed, versions, ...) is stored as an attribute and is not part of the digest.
    """
    _check_texts(episode)
    _check_steps(episode)
    arrays = _arrays(episode)
    with GroupWriter(path) as writer:
        writer.create("rgb", tuple(episode.rgb.shape[1:]), "uint8", dims=_RGB)
        for block in _blocks(episode):
            writer.append("rgb", block)
        for name, array in arrays.items():
            writer.put(name, array, dims=_DIMS.get(name, ()))
        writer.commit({**_FORMAT, **_head(episode), "extra": dict(extra)})
    return read_episode(path).digest


def read_episode(path: Path) -> Episode:
    """Return a stored episode whose arrays are memory-mapped."""
    group = read_group(path)
    head = group.attributes
    if {key: head.get(key) for key in _FORMAT} != _FORMAT or _dtype(group, "rgb") != "uint8":
        raise UserError(f"{path}: not an episode of this format version; delete it and run again")
    cameras = head.get("cameras")
    texts: dict[str, Any] = {key: head.get(key) for key in _TEXTS}
    episode = Episode(
        **texts,
        cameras=tuple(cameras) if isinstance(cameras, list) else (),
        rgb=group.frames("rgb"),
        joints=group.get("joints"),
        actions=group.get("actions"),
        clouds=_clouds(group),
        state={n.removeprefix("state/"): group[n] for n in group.arrays if n.startswith("state/")},
        digest=json_digest([_head_of(head), head["digests"]]),
    )
    _check_texts(episode)
    _check_steps(episode)
    return episode


def validate(episode: Episode) -> None:
    """Raise UserError naming episode and frame if a stage could not use the episode.

    Checks every value of joints, actions, state and point clouds, and the shape of the images.
    """
    _check_texts(episode)
    _check_steps(episode)
    _check_values(episode)
    if episode.clouds is not None:
        for t, cloud in enumerate(episode.clouds):
            _check_cloud(episode, t, cloud)


def digest_of(episode: Episode) -> str:
    """Return the digest of texts, cameras and all arrays, the same before and after storing."""
    pixels = hashlib.blake2b(digest_size=32)
    for block in _blocks(episode):
        pixels.update(np.ascontiguousarray(block).data)
    digests = {"rgb": array_digest(tuple(episode.rgb.shape), "uint8", _RGB, pixels.hexdigest())}
    for name, array in _arrays(episode).items():
        data = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=32).hexdigest()
        dims = _DIMS.get(name, ())
        digests[name] = array_digest(array.shape, array.dtype.name, dims, data)
    return json_digest([_head(episode), digests])


def by_name(episodes: Iterable[Episode]) -> dict[str, Episode]:
    """Return episodes by name; raise UserError for a duplicate name."""
    found: dict[str, Episode] = {}
    for position, episode in enumerate(episodes):
        if episode.name in found:
            raise UserError(
                f"episode {episode.name!r}: duplicate name at position {position};"
                " give each episode its own name"
            )
        found[episode.name] = episode
    return found


@attrs.frozen(eq=False)
class StoredClouds(LazyClouds):
    """The point clouds of an episode, as slices of the concatenated points."""

    group: Group
    offsets: NDArray[np.int64]  # (T + 1,), cloud t is points offsets[t] to offsets[t + 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def load(self, index: int) -> PointCloud:
        """Return the cloud of one frame."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return PointCloud(xyz=self.group["points/xyz"][part], rgb=self.group["points/rgb"][part])


def _head(episode: Episode) -> dict[str, Any]:
    return _head_of({**{k: getattr(episode, k) for k in _TEXTS}, "cameras": episode.cameras})


def _head_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: attributes.get(key) for key in (*_TEXTS, "cameras")}


def _arrays(episode: Episode) -> dict[str, NDArray[Any]]:
    """Return all arrays except the images by their names in the store, after checking them."""
    _check_values(episode)
    arrays: dict[str, NDArray[Any]] = {}
    for name, array in (("joints", episode.joints), ("actions", episode.actions)):
        if array is not None:
            arrays[name] = np.asarray(array)
    arrays |= {f"state/{key}": np.asarray(array) for key, array in episode.state.items()}
    if episode.clouds is not None:
        clouds = list(episode.clouds)  # read once: a recorded data set reads files
        for t, cloud in enumerate(clouds):
            _check_cloud(episode, t, cloud)
        arrays["points/xyz"] = np.concatenate([cloud.xyz for cloud in clouds])
        arrays["points/rgb"] = np.concatenate([cloud.rgb for cloud in clouds])
        counts = [0, *(len(cloud.xyz) for cloud in clouds)]
        arrays["points/offsets"] = np.cumsum(counts, dtype=np.int64)
    return arrays


def _blocks(episode: Episode) -> Iterator[NDArray[np.uint8]]:
    shape = tuple(episode.rgb.shape)
    for start in range(0, shape[0], _BLOCK):
        stop = min(start + _BLOCK, shape[0])
        block = np.asarray(episode.rgb[start:stop])
        if block.dtype != np.uint8 or block.shape != (stop - start, *shape[1:]):
            raise UserError(
                f"episode {episode.name!r} frames {start} to {stop - 1}: images are "
                f"{block.dtype} {block.shape}; give uint8 {(stop - start, *shape[1:])}"
            )
        yield block


def _check_texts(episode: Episode) -> None:
    for key in _TEXTS:
        value = getattr(episode, key)
        if not isinstance(value, str) or (key == "name" and not value):
            remedy = "a non-empty string" if key == "name" else "a string"
            raise _bad(episode, f"{key} is {value!r}; give {remedy}")
    names = episode.cameras
    if not names or len(set(map(str, names))) < len(names) or not all(map(_text, names)):
        raise UserError(f"episode {episode.name!r}: cameras are {names!r}; give each a unique name")


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _check_steps(episode: Episode) -> None:
    """Check all shapes and dtypes, without reading values."""
    shape, cameras = tuple(episode.rgb.shape), len(episode.cameras)
    if len(shape) != 5 or shape[1] != cameras or shape[4] != 3 or not all(shape[1:]):
        raise _bad(episode, f"images have shape {shape}; give (T, {cameras}, H, W, 3)")
    if not shape[0]:
        raise _bad(episode, "has no frames; remove it")
    if (episode.joints is None) != (episode.actions is None):
        raise _bad(episode, "has only one of joints and actions; give both or neither")
    for name, array in _numbers(episode):
        if array.dtype != np.float32 or array.ndim < 1:
            raise _bad(episode, f"{name} is {array.dtype}; give float32")
        if len(array) != shape[0]:
            raise _bad(episode, f"{name} has {len(array)} steps for {shape[0]} frames")
    if episode.joints is not None and episode.actions is not None:
        shapes = {tuple(episode.joints.shape), tuple(episode.actions.shape)}
        if len(shapes) > 1 or episode.joints.ndim != 2 or not episode.joints.shape[1]:
            raise _bad(episode, f"joints and actions have shapes {shapes}; give (T, A) twice")
    if episode.clouds is not None and len(episode.clouds) != shape[0]:
        count = len(episode.clouds)
        raise _bad(episode, f"has {count} point clouds for {shape[0]} frames; give one per frame")


def _check_values(episode: Episode) -> None:
    for name, array in _numbers(episode):
        if (t := first_unfinite(np.asarray(array))) is not None:
            raise _bad(episode, f"{name} contains NaN or infinity; record the episode again", t)


def _check_cloud(episode: Episode, t: int, cloud: PointCloud) -> None:
    xyz, rgb = cloud.xyz, cloud.rgb
    if xyz.dtype != np.float32 or rgb.dtype != np.uint8 or xyz.ndim != 2 or xyz.shape[1] != 3:
        kinds = f"{xyz.dtype} {xyz.shape} and {rgb.dtype} {rgb.shape}"
        raise _bad(episode, f"point cloud is {kinds}; give float32 and uint8 (P, 3)", t)
    if xyz.shape != rgb.shape:
        count = f"{len(xyz)} points and {len(rgb)} colours"
        raise _bad(episode, f"point cloud has {count}; give one colour per point", t)
    if not len(xyz):
        raise _bad(episode, "point cloud has no points; remove the episode", t)
    if not np.isfinite(xyz).all():
        raise _bad(episode, "point cloud contains NaN or infinity; remove those points", t)


def _numbers(episode: Episode) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if episode.joints is not None:
        yield "joints", episode.joints
    if episode.actions is not None:
        yield "actions", episode.actions
    for key, array in episode.state.items():
        yield f"state {key!r}", array


def _bad(episode: Episode, what: str, t: int | None = None) -> UserError:
    frame = "" if t is None else f" frame {t}"
    return UserError(f"episode {episode.name!r}{frame}: {what}")


def _clouds(group: Group) -> StoredClouds | None:
    kinds = {f"points/{key}": kind for key, kind in _POINTS.items()}
    if not any(name in group for name in kinds):
        return None
    mismatch = UserError(
        f"{group.path}: points do not match their offsets; delete it and run again"
    )
    if any(_dtype(group, name) != kind for name, kind in kinds.items()):
        raise mismatch
    offsets = group["points/offsets"]
    shape = group.layout("points/xyz").shape  # the points are read when a cloud is
    if shape != group.layout("points/rgb").shape or shape[1:] != (3,):
        raise mismatch
    if offsets.ndim != 1 or len(offsets) < 2:
        raise mismatch
    if offsets[0] or offsets[-1] != shape[0] or (offsets[1:] <= offsets[:-1]).any():
        raise mismatch
    return StoredClouds(group, offsets)


def _dtype(group: Group, name: str) -> str | None:
    return group.layout(name).dtype if name in group else None
