"""The replay buffer of diffusion_policy: a zarr store of format 2.

``data/KEY`` has the frames of all episodes, one after the other, and ``meta/episode_ends`` the
index after the last frame of each. Source: https://github.com/real-stanford/diffusion_policy
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import attrs
import numpy as np

from rgb2act_core import UserError

from .data_set import Array
from .zarr_arrays import ChunkLayout, ZarrArray, read_layout
from .zarr_stores import AGAIN, Store, open_store

ENDS, BUFFER = "meta/episode_ends", "replay_buffer.zarr"
USUAL = ("agent_pos", "qpos", "robot_joint", "robot0_joint_pos", "robot_eef_pose", "state")


@attrs.frozen(kw_only=True, slots=False)
class ReplayBuffer:
    """Episodes of a replay buffer; implements ``DataSet``."""

    store: Store
    layouts: Mapping[str, ChunkLayout]
    """Of the arrays in ``data``."""
    unread: Mapping[str, str]
    ends: tuple[int, ...]
    layout: str = "zarr replay buffer"
    missing: tuple[str, ...] = ()
    rate: float | None = None
    action: str = "action"
    controller: str = ""

    @property
    def path(self) -> Path:
        """The folder or zip file."""
        return self.store.path

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the episodes by their place in the buffer."""
        return tuple(f"episode_{i}" for i in range(len(self.ends)))

    @property
    def task(self) -> str:
        """The name of the folder or file."""
        path = self.path.resolve()
        name = path.name if path.name != BUFFER else path.parent.name
        return name.removesuffix(".zip").removesuffix(".zarr")

    def usual_joints(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return the array that usually is the robot's state."""
        return next(((key,) for key in USUAL if key in keys), ())

    def filtered(self, name: str) -> tuple[str, ...]:
        """Raise UserError: the format has no filters."""
        raise UserError(f"recordings.filter: {self.path} has no filters; remove the key {name!r}")

    def file(self, name: str) -> Path:
        """Return the folder or zip file."""
        return self.path

    def text(self, name: str) -> str:
        """Return nothing: the format records no text."""
        return ""

    def arrays(self, name: str) -> Mapping[str, Array]:
        """Return the rows of an episode in all arrays."""
        index = int(name.removeprefix("episode_"))
        start, stop = (self.ends[index - 1] if index else 0), self.ends[index]
        found: dict[str, Array] = {}
        for key, layout in self.layouts.items():
            if layout.shape[0] < stop:
                raise UserError(
                    f"{self.path}: data/{key}: has {layout.shape[0]} rows, but {name} ends at"
                    f" {stop}; {AGAIN}"
                )
            found[key] = ZarrArray(
                store=self.store, key=f"data/{key}", layout=layout, start=start, stop=stop
            )
        return found

    def digest(self, name: str, keys: Collection[str]) -> str:
        """Return the digest of the arrays and the rows of the episode."""
        index = int(name.removeprefix("episode_"))
        rows = (self.ends[index - 1] if index else 0, self.ends[index])
        return f"{self.store.digest([f'data/{key}' for key in keys])} {rows}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield the arrays."""
        yield "arrays", ", ".join(self.layouts) or "none"
        for reason in self.unread.values():
            yield "not read", reason


def open_data_set(path: Path) -> ReplayBuffer | None:
    """Return the replay buffer at a path; None if there is none.

    Raises UserError if its list of episodes is damaged.
    """
    inner = path / BUFFER
    store = open_store(inner if inner.is_dir() else path)
    if store is None or "episode_ends" not in store.children("meta"):
        return None
    layouts, unread = dict[str, ChunkLayout](), dict[str, str]()
    for key in store.children("data"):
        try:
            layouts[key] = read_layout(store, f"data/{key}")
        except UserError as err:  # matters only if the spec uses the array
            unread[key] = str(err)
    return ReplayBuffer(store=store, layouts=layouts, unread=unread, ends=_ends(store))


def _ends(store: Store) -> tuple[int, ...]:
    layout = read_layout(store, ENDS)
    count = layout.shape[0]
    if len(layout.shape) != 1 or layout.dtype.kind not in "iu":
        raise UserError(
            f"{store.path}: {ENDS}: is {layout.dtype} {layout.shape}, expected integers"
        )
    ends = ZarrArray(store=store, key=ENDS, layout=layout, start=0, stop=count).rows(0, count)
    values = ends.astype(np.int64)
    if not count or (np.diff(values, prepend=0) <= 0).any():
        raise UserError(f"{store.path}: {ENDS}: does not rise from episode to episode; {AGAIN}")
    return tuple(values.tolist())
