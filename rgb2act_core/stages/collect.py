"""Collect: the environment's expert records demonstrations and scenes, in worker processes.

Episodes are stored in ``store/episodes/<environment>-<key>/<name>``, one zarr group each. A failed
attempt leaves an empty file ``<name>.failed``. The key does not include the number of episodes, so
raising it records only the missing ones. Scenes are in the same folder, or in one whose key covers
only what they depend on, if the environment states it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset, EpisodeRef, recorded_dataset, stored_episode
from ..data.episode_store import digest_of
from ..errors import UserError
from ..interfaces import Environment
from ..plugins.components import Capability
from ..store.claims import Claims
from ..store.disk_errors import guard
from ..store.group_writer import sweep
from ..store.keys import canonical, key_of
from ..system.devices import workers_of
from ..system.formatting import counted
from ..system.shards import ALL, Shard
from .recording import failure_mark, open_executor, record_demonstrations, record_scenes
from .run import TaskRun
from .scene_packs import missing_scenes, scene_packs


def folder_of(run: TaskRun) -> Path:
    """Return the folder of this environment's episodes."""
    if run.episodes is not None:
        return run.episodes
    inputs = {
        "environment": canonical(run.environment),
        "noise": run.spec.collect.action_noise_std,
    }
    return run.store / "episodes" / f"{run.environment.component.name}-{key_of(inputs)}"


def scenes_folder(run: TaskRun, environment: Environment) -> Path:
    """Return the folder of this environment's scenes.

    By default, scenes depend on the complete config and on the recorded episodes.
    """
    if run.scenes is not None:
        return run.scenes
    component = run.environment.component
    if run.environment.can(Capability.SCENE_INPUTS):
        source: Any = environment
        inputs = {"version": component.version, "scenes": canonical(source.scene_inputs())}
        return run.store / "episodes" / f"{component.name}-scenes-{key_of(inputs)}"
    folder = folder_of(run)
    recorded = environment.recorded() if environment.info.scenes else ()
    if not recorded:
        return folder
    digests = key_of([episode.digest or digest_of(episode) for episode in recorded])
    return folder.with_name(f"{folder.name}-scenes-{digests}")


def demonstrations_of(run: TaskRun) -> list[Path]:
    """Return the demonstrations recorded so far, up to the requested number."""
    paths: list[Path] = []
    for path in _attempts(run):
        if path.exists():
            paths.append(path)
        elif not failure_mark(path).exists() or len(paths) == run.spec.collect.episodes:
            break
    return paths[: run.spec.collect.episodes]


def _attempts(run: TaskRun) -> Iterator[Path]:
    """Yield the path of a demonstration for one seed after another, without end."""
    seed, folder = run.spec.collect.start, folder_of(run)
    while True:
        yield folder / _name(seed)
        seed += 1


def _name(seed: int) -> str:
    return f"episode_{seed:07d}"


def missing(run: TaskRun, environment: Environment) -> tuple[int, int]:
    """Return the number of demonstrations and of scenes that are not recorded yet."""
    info, scenes = environment.info, 0
    packs = scene_packs(run)
    if packs and (info.demonstrates or info.scenes):
        folder = scenes_folder(run, environment)
        scenes = sum(missing_scenes(folder, pack) for pack in packs)
    if info.demonstrates:
        return _undecided(run), scenes
    return 0, scenes


def describe_missing(run: TaskRun, environment: Environment) -> str:
    """Return what is not recorded yet, such as ``3 demonstrations and 100 scenes``."""
    episodes, scenes = missing(run, environment)
    return f"{counted(episodes, 'demonstration')} and {counted(scenes, 'scene')}"


def _undecided(run: TaskRun) -> int:
    """Return how many seeds were not attempted that are needed if all of them succeed."""
    names = set[str]()
    with contextlib.suppress(FileNotFoundError):
        names.update(path.name for path in folder_of(run).iterdir())
    wanted, succeeded, left = run.spec.collect.episodes, 0, 0
    for seed in itertools.count(run.spec.collect.start):
        if not names or succeeded + left == wanted:
            break
        name = _name(seed)
        if name in names:
            succeeded += 1
            names.remove(name)
        elif (failed := failure_mark(Path(name)).name) in names:
            names.remove(failed)
        else:
            left += 1
    return wanted - succeeded


def dataset_of(run: TaskRun, environment: Environment) -> Dataset | None:
    """Return the task's data set, or None while it is incomplete.

    Recorded episodes are joined by the scenes of the environment, if it has any. Raises UserError
    if the environment has neither recorded episodes nor an expert.
    """
    episodes = environment.recorded()
    if episodes:
        data = recorded_dataset(episodes, environment.info)
        if not environment.info.scenes:
            return data
        scenes = _scenes(run, environment)
        return None if scenes is None else attrs.evolve(data, scenes=scenes)
    if not environment.info.demonstrates:
        raise UserError(
            f"environment {run.environment.component.name}: no recorded episodes were found, and it"
            " has no expert; set a folder of demonstrations in [environment]"
        )
    demonstrations = demonstrations_of(run)
    scenes = _scenes(run, environment)
    if scenes is None or len(demonstrations) < run.spec.collect.episodes:
        return None
    return Dataset(
        demonstrations=tuple(stored_episode(path) for path in demonstrations), scenes=scenes
    )


def _scenes(run: TaskRun, environment: Environment) -> tuple[EpisodeRef, ...] | None:
    """Return the packs of scenes; None if one is missing."""
    packs = scene_packs(run)
    if not packs:
        return ()
    folder = scenes_folder(run, environment)
    paths = [folder / pack.name for pack in packs]
    return tuple(map(stored_episode, paths)) if all(path.exists() for path in paths) else None


def collect(run: TaskRun, environment: Environment, shard: Shard = ALL) -> int:
    """Record the demonstrations and scenes of a shard that are missing.

    Processes may record into one store at the same time, also the same shard: each records the
    entries that it claims. Returns the frames that this process recorded.
    """
    spec, scenes, frames = run.spec, scenes_folder(run, environment), 0
    count = workers_of(spec.compute.simulator_workers)
    component, config = run.environment.component, run.environment.config
    with (
        _opened(scenes) as scene_claims,
        open_executor(count, component, config) as executor,
    ):
        if environment.info.demonstrates:
            wanted, noise = spec.collect.episodes, spec.collect.action_noise_std
            workers = (executor, 2 * count)
            with _opened(folder_of(run)) as claims:
                frames = record_demonstrations(
                    _attempts(run), wanted, noise, workers, claims, shard
                )
        return frames + record_scenes(scenes, scene_packs(run), executor, scene_claims, shard)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Claims]:
    """Create a folder, remove what killed runs left in it, and yield claims on its entries."""
    with guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    with Claims(folder) as claims:
        yield claims
    sweep(folder)  # again: a worker of a killed run may have written since
