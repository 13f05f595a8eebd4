"""One evaluated episode on disk: what was planned, commanded and observed.

``rollouts/[TASK_]seed_SEED.npz`` in the folder of an evaluation. From the seed and the commands
the episode can be executed again, to film it.

Shapes: T = steps executed, A = all action dimensions, X = hands, K = observations, P = plans,
S = horizon, D = dimensions that the policy moves
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..store.disk_errors import guard
from ..store.files import atomic_write
from .episode_metrics import step_lengths

_ARRAYS = ("commands", "hands", "joints", "observed", "plans", "plan_steps", "seams", "moved")


@attrs.frozen(eq=False, kw_only=True)
class RolloutFile:
    """The content of one file."""

    seed: int
    success: bool
    task: str | None  # None if the policy has one task
    scene: Mapping[str, Any] | None  # what screening reported about the scene
    chunk: int  # actions per request to the simulator
    action_names: Sequence[str]
    commands: NDArray[np.float32]  # (T, A), radians, grippers 0..1
    hands: NDArray[np.float32]  # (T + 1, X, 3), metres, at the start and after each step
    joints: NDArray[np.float32]  # (K, A), observed
    observed: NDArray[np.int64]  # (K,), steps after which ``joints`` were observed
    plans: NDArray[np.float32]  # (P, S, D); empty for a replay
    plan_steps: NDArray[np.int64]  # (P,), first step of each plan
    seams: NDArray[np.float64]  # (P - 1,), difference to the previous plan, in half ranges
    moved: NDArray[np.int64]  # (D,), index of each dimension that the policy moves

    @property
    def steps(self) -> int:
        """Return the number of executed steps."""
        return len(self.commands)

    def curves(self) -> dict[str, list[float]]:
        """Return the length of every step and the seam of every plan, for plots."""
        names = [self.action_names[i] for i in self.moved]
        lengths = step_lengths(self.commands[:, self.moved], names, self.hands)
        return lengths | {"seams": self.seams.tolist()}

    def save(self, folder: Path) -> None:
        """Write the file into the folder of an evaluation."""
        info = {
            name: getattr(self, name)
            for name in ("seed", "success", "task", "scene", "chunk", "action_names")
        }
        path = rollout_path(folder, self.seed, self.task)
        with guard(path):  # a folder that was deleted meanwhile is an error
            path.parent.mkdir(exist_ok=True)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, info=np.array(json.dumps(info)), **arrays)


def read_rollout(path: Path) -> RolloutFile:
    """Return the content of a file. Raises UserError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in _ARRAYS}
            return RolloutFile(**json.loads(str(data["info"])), **arrays)
    except Exception as err:  # numpy raises almost any type for a damaged archive
        raise UserError(
            f"{path}: not a readable rollout ({type(err).__name__}: {err}); delete the folder of"
            " the evaluation and run again"
        ) from err


def rollout_path(folder: Path, seed: int, task: str | None = None) -> Path:
    """Return the path of an episode's file in the folder of an evaluation."""
    return folder / "rollouts" / f"{episode_name(seed, task)}.npz"


def video_path(folder: Path, seed: int, task: str | None = None) -> Path:
    """Return the path of an episode's video in the folder of an evaluation."""
    return folder / "videos" / f"{episode_name(seed, task)}.mp4"


def episode_name(seed: int, task: str | None = None) -> str:
    """Return the name of an episode's files; it begins with the task, if there are several."""
    return f"{task}_seed_{seed:07d}" if task else f"seed_{seed:07d}"
