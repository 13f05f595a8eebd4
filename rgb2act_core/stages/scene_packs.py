"""Scenes without actions, stored in packs: one action-free episode for several scenes.

A pack that is larger or smaller than a stored one with the same first scene takes its frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..data.episode_store import read_episode, write_episode
from ..interfaces import Environment, Episode
from .run import TaskRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCENE_SEEDS = 400_000  # offset of the first scene's seed from the first demonstration's
PACK_SIZE = 100  # scenes in a pack


def scene_packs(run: TaskRun) -> list[ScenePack]:
    """Return the packs of scenes that the run needs."""
    first, count = run.spec.collect.start + SCENE_SEEDS, run.spec.collect.scenes
    return [ScenePack(first + i, min(PACK_SIZE, count - i)) for i in range(0, count, PACK_SIZE)]


@attrs.frozen
class ScenePack:
    """Scenes of consecutive seeds that are stored together."""

    first: int
    count: int

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"scenes_{self.first:07d}_{self.count}"

    def stored_in(self, folder: Path) -> list[ScenePack]:
        """Return the stored packs that begin with the same scene, the largest first."""
        prefix = f"scenes_{self.first:07d}_"
        counts = [path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*")]
        found = [ScenePack(self.first, int(count)) for count in counts if count.isdecimal()]
        return sorted(found, key=lambda pack: pack.count, reverse=True)


def missing_scenes(folder: Path, pack: ScenePack) -> int:
    """Return how many scenes of a pack are in no stored pack."""
    if (folder / pack.name).exists():
        return 0
    stored = pack.stored_in(folder)
    return max(pack.count - stored[0].count, 0) if stored else pack.count


def record_pack(environment: Environment, folder: Path, pack: ScenePack) -> int:
    """Store a pack, with the scenes of a stored pack that begins with the same one.

    Returns how many scenes were recorded.
    """
    parts = [read_episode(folder / known.name) for known in pack.stored_in(folder)[:1]]
    stored = sum(part.rgb.shape[0] for part in parts)
    seeds = range(pack.first + stored, pack.first + pack.count)
    try:
        parts += [environment.scene(seed) for seed in seeds]
    except Exception as err:
        err.add_note(f"while recording the scenes of seeds {seeds[0]} to {seeds[-1]}")
        raise
    packed = _packed(pack.name, parts, pack.count)
    write_episode(folder / pack.name, packed, extra={"first_seed": pack.first})
    return len(seeds)


def _packed(name: str, parts: Sequence[Episode], count: int) -> Episode:
    """Join the first ``count`` frames of action-free episodes."""
    import numpy as np

    join: Callable[[list[NDArray[Any]]], NDArray[Any]] = np.concatenate
    images: list[NDArray[np.uint8]] = [part.rgb[:] for part in parts]
    clouds = [cloud for part in parts for cloud in part.clouds or ()]
    states = {key: join([part.state[key] for part in parts])[:count] for key in parts[0].state}
    return attrs.evolve(
        parts[0],
        name=name,
        rgb=join(images)[:count],
        clouds=None if parts[0].clouds is None else clouds[:count],
        state=states,
        digest="",
    )
