"""True states of recorded episodes: poses of the task's actors, and contacts.

``record-robotwin`` stores them in the group ``rgb2act``, which RoboTwin's own readers ignore. Its
attribute ``names`` lists the N actors.

Shapes: T = frames of the episode, N = actors
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError
from rgb2act_core.recordings import hdf5
from rgb2act_core.recordings.hdf5 import REMEDY

ACTORS = "actors"  # (T, N, 7): x y z in metres and quaternion w x y z, world frame
CONTACTS = "contacts"  # (T, N, 2 + N): whether it touches left arm, right arm, each actor
NAMES = (ACTORS, CONTACTS)
GROUP = "rgb2act"


def key_of_state(name: str) -> str:
    """Return the key of a state's array in a file."""
    return f"{GROUP}/{name}"


def has_states(path: Path) -> bool:
    """Return whether a file has true states."""
    return all(hdf5.has(path, key_of_state(name)) for name in NAMES)


def actor_names(path: Path) -> tuple[str, ...]:
    """Return the names of the actors in a file's states; empty if the file lists none."""
    names = hdf5.read_attribute(path, GROUP, "names") if hdf5.has(path, GROUP) else None
    return () if names is None else tuple(str(name) for name in np.atleast_1d(names))


def check_actors(found: Sequence[str], known: Sequence[str], where: str, known_where: str) -> None:
    """Raise UserError if the actors of two sources differ; nothing is compared if one lists none.

    States have the actors in this order.
    """
    if not found or not known or list(found) == list(known):
        return
    extra, lacking = sorted({*found} - {*known}), sorted({*known} - {*found})
    parts = [f"has {', '.join(extra)} in addition"] if extra else []
    parts += [f"lacks {', '.join(lacking)}"] if lacking else []
    difference = " and ".join(parts) or f"has the order {', '.join(found)}"
    raise UserError(
        f"{where}: its true states are not of the same actors as those of {known_where}: it"
        f" {difference}; use one version of RoboTwin and one task_config, or record again"
    )


def read_states(path: Path, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Return the states of some frames, by name; none if the file has no states."""
    if not has_states(path):
        return {}
    found = {}
    for name in NAMES:
        key = key_of_state(name)
        array = hdf5.read(path, key)
        if array.ndim != 3 or array.dtype != np.float32 or len(array) <= rows.max(initial=-1):
            raise UserError(
                f"{path}: {key}: is {array.dtype} {array.shape}, expected float32 (T, N, ...) of"
                f" {int(rows.max(initial=-1)) + 1} frames; {REMEDY}"
            )
        found[name] = array[rows]
    return found
