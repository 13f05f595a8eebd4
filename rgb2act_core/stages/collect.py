"""Collect: the environment's expert records demonstrations and scenes, in worker processes.

Episodes are stored in ``store/episodes/<environment>-<key>/<name>``, one zarr group each. A failed
attempt leaves an empty file ``<name>.failed``. The key does not include the number of episodes, so
raising it records only the missing ones. Scenes are in the same folder, or in one whose key covers
only what they depend on, if the environment states it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset, EpisodeRef, recorded_dataset, stored_episode
from ..data.episode_store import digest_of, write_episode
from ..errors import UserError
from ..interfaces import Environment
from ..plugins.components import Capability, Component, Kind
from ..store.disk_errors import guard
from ..store.group_writer import sweep
from ..store.keys import canonical, key_of
from ..store.locks import locked
from ..system import processes
from ..system.devices import workers_of
from ..system.progress import progress_bar
from .run import TaskRun
from .scene_packs import ScenePack, missing_scenes, record_pack, scene_packs


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
        elif not _failed(path).exists() or len(paths) == run.spec.collect.episodes:
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


def _failed(path: Path) -> Path:
    return path.with_name(path.name + ".failed")


def missing(run: TaskRun, environment: Environment) -> tuple[int, int]:
    """Return the number of demonstrations and of scenes that are not recorded yet."""
    info, scenes = environment.info, 0
    packs = scene_packs(run)
    if packs and (info.demonstrates or info.scenes):
        folder = scenes_folder(run, environment)
        scenes = sum(missing_scenes(folder, pack) for pack in packs)
    if info.demonstrates:
        return run.spec.collect.episodes - len(demonstrations_of(run)), scenes
    return 0, scenes


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


def collect(run: TaskRun, environment: Environment) -> None:
    """Record the requested demonstrations and scenes that are missing."""
    demonstrations, scenes = folder_of(run), scenes_folder(run, environment)
    folders = {scenes, demonstrations} if environment.info.demonstrates else {scenes}
    with contextlib.ExitStack() as stack:
        for folder in sorted(folders):
            stack.enter_context(_open_folder(folder))
        count = workers_of(run.spec.compute.simulator_workers)
        component, config = run.environment.component, run.environment.config
        with _executor(count, component, config) as executor:
            if environment.info.demonstrates:
                _record_demonstrations(run, executor, 2 * count)
            _record_scenes(run, scenes, executor)


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[None]:
    """Lock a folder, create it and remove what killed runs left in it."""
    with locked(folder.with_name(folder.name + ".lock")):
        with guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        yield
        sweep(folder)  # again: a worker of a killed run may have written since


@contextlib.contextmanager
def _executor(count: int, component: Component, config: Any) -> Iterator[Executor]:
    executor = processes.pool(count, _initialise, component.name, config)
    try:
        yield executor
    except BrokenProcessPool as err:
        executor.shutdown()
        raise UserError(
            "collect: a worker process was killed, possibly out of memory; lower"
            " compute.simulator_workers and run again"
        ) from err
    except BaseException:
        processes.stop(executor)
        raise
    executor.shutdown()


def _record_demonstrations(run: TaskRun, executor: Executor, max_running: int) -> None:
    """Attempt seeds in order until enough succeed.

    No seed is attempted unless it is needed, so the recorded seeds do not depend on the workers'
    speed.
    """
    wanted, noise = run.spec.collect.episodes, run.spec.collect.action_noise_std
    succeeded, attempted, limit = 0, 0, 20 + 10 * wanted
    running: set[Future[bool]] = set()
    paths = _attempts(run)
    with progress_bar("collect demonstrations", wanted, "episodes") as advance:
        while succeeded < wanted:
            while succeeded + len(running) < wanted and len(running) < max_running:
                path = next(paths)
                attempted += 1
                if path.exists():
                    succeeded += 1
                    advance()
                elif not _failed(path).exists():
                    running.add(executor.submit(_demonstrate, path, noise))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for success in [future.result() for future in done]:
                succeeded += success
                advance(int(success), failed=attempted - succeeded - len(running))
            if attempted > limit:
                raise UserError(
                    f"collect: only {succeeded} of {attempted} demonstrations succeeded; lower"
                    " collect.action_noise_std"
                )


def _record_scenes(run: TaskRun, folder: Path, executor: Executor) -> None:
    packs = scene_packs(run)
    if not packs:
        return
    with progress_bar("collect scenes", run.spec.collect.scenes, "scenes") as advance:
        running = {}
        for pack in packs:
            if (folder / pack.name).exists():
                advance(pack.count)
            else:
                running[executor.submit(_record_pack, folder, pack)] = pack.count
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                advance(running.pop(future))


class _Worker:
    """State of a worker process, set when it starts."""

    environment: Environment


def _initialise(name: str, config: Any) -> None:
    from ..plugins.registry import find

    _Worker.environment = find(Kind.ENVIRONMENT, name).build(config)


def _demonstrate(path: Path, noise: float) -> bool:
    seed = int(path.name.removeprefix("episode_"))
    try:
        episode = _Worker.environment.demonstrate(seed, noise)
    except Exception as err:
        err.add_note(f"while recording the demonstration of seed {seed}")
        raise
    if episode is None:
        with guard(path):
            _failed(path).touch()
        return False
    write_episode(path, attrs.evolve(episode, name=path.name), extra={"seed": seed})
    return True


def _record_pack(folder: Path, pack: ScenePack) -> None:
    record_pack(_Worker.environment, folder, pack)
