"""Collect: the environment's expert records demonstrations and scenes, in worker processes.

Episodes lie in ``store/episodes/<environment>-<key>/<name>``, one zarr group each; a failed try
leaves ``<name>.failed``. The key holds no count, so asking for more records only what is missing.
A run that comes here is of one task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..data.dataset import Dataset, recorded_dataset, stored_episode
from ..data.episode_store import write_episode
from ..errors import UserError
from ..interfaces import Environment, Episode
from ..plugins.components import Component, Kind
from ..store.files import guard, locked
from ..store.group_writer import sweep
from ..store.keys import canonical, key_of
from ..store.run import TaskRun
from ..system import processes
from ..system.devices import workers_of
from ..system.progress import task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCENE_SEEDS = 400_000  # scenes' first seed lies this far behind the first demonstration's
PACK = 100  # scenes stored together as one action-free episode


def folder_of(run: TaskRun) -> Path:
    """Return the folder of this environment's episodes."""
    choice, noise = run.environment, run.spec.collect.action_noise_std
    key = key_of({"environment": canonical(choice), "noise": noise})
    return run.store / "episodes" / f"{choice.component.name}-{key}"


def scene_packs(run: TaskRun) -> list[tuple[int, int]]:
    """Return first seed and size of each pack of scenes."""
    first = run.spec.collect.start + SCENE_SEEDS
    count = run.spec.collect.scenes
    return [(first + i, min(PACK, count - i)) for i in range(0, count, PACK)]


def demonstrations_of(run: TaskRun) -> list[Path]:
    """Return the demonstrations recorded so far, at most as many as asked for."""
    found = []
    for path in _tries(run):
        if path.exists():
            found.append(path)
        elif not _failed(path).exists() or len(found) == run.spec.collect.episodes:
            break
    return found[: run.spec.collect.episodes]


def _tries(run: TaskRun) -> Iterator[Path]:
    seed, folder = run.spec.collect.start, folder_of(run)
    while True:
        yield folder / _name(seed)
        seed += 1


def _name(seed: int) -> str:
    return f"episode_{seed:07d}"


def _pack_name(first: int, count: int) -> str:
    return f"scenes_{first:07d}_{count}"


def _failed(path: Path) -> Path:
    return path.with_name(path.name + ".failed")


def missing(run: TaskRun) -> tuple[int, int]:
    """Return how many demonstrations and packs of scenes are still to record."""
    folder = folder_of(run)
    packs = [p for p in scene_packs(run) if not (folder / _pack_name(*p)).exists()]
    return run.spec.collect.episodes - len(demonstrations_of(run)), len(packs)


def dataset_of(run: TaskRun, environment: Environment) -> Dataset | None:
    """Return the data set when it is complete, else None."""
    episodes = environment.recorded()
    if episodes:
        return recorded_dataset(episodes, environment.info)
    if not environment.info.demonstrates:
        raise UserError(
            f"environment {run.environment.component.name}: no recorded episodes were found"
            " and it has no expert; name a folder of demonstrations in [environment]"
        )
    if missing(run) != (0, 0):
        return None
    folder = folder_of(run)
    return Dataset(
        demonstrations=tuple(stored_episode(path) for path in demonstrations_of(run)),
        scenes=tuple(stored_episode(folder / _pack_name(*pack)) for pack in scene_packs(run)),
    )


def collect(run: TaskRun) -> None:
    """Record what is missing of the demonstrations and scenes that the spec asks for."""
    folder = folder_of(run)
    with locked(folder.with_name(folder.name + ".lock")):
        with guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
        count = workers_of(run.spec.compute)
        choice = run.environment
        with _executor(count, choice.component, choice.config, folder) as executor:
            _record_demonstrations(run, executor, 2 * count)
            _record_scenes(run, executor)
        sweep(folder)  # a worker whose run was killed may have outlived the start of this one


@contextlib.contextmanager
def _executor(count: int, component: Component, config: Any, folder: Path) -> Iterator[Executor]:
    executor = processes.pool(count, _initialise, component.name, config, folder)
    try:
        yield executor
    except BrokenProcessPool as err:
        executor.shutdown()
        raise UserError(
            "collect: a worker process was killed, perhaps for want of memory; lower [compute]"
            " workers and run again"
        ) from err
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)  # episodes under way are finished
        raise
    executor.shutdown()


def _record_demonstrations(run: TaskRun, executor: Executor, ahead: int) -> None:
    """Try seeds in order until enough succeed: which ones are used depends on no worker's speed."""
    wanted, noise = run.spec.collect.episodes, run.spec.collect.action_noise_std
    good, tries, limit = 0, 0, 20 + 10 * wanted
    under_way: set[Future[bool]] = set()
    paths = _tries(run)
    with task("collect demonstrations", wanted, "episodes") as advance:
        while good < wanted:
            while good + len(under_way) < wanted and len(under_way) < ahead:
                path = next(paths)
                tries += 1
                if path.exists():
                    good += 1
                    advance()
                elif not _failed(path).exists():
                    under_way.add(executor.submit(_demonstrate, path, noise))
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for success in [future.result() for future in done]:
                good += success
                advance(int(success), failed=tries - good - len(under_way))
            if tries > limit:
                raise UserError(
                    f"collect: only {good} of {tries} tries succeeded; lower [collect] noise"
                )


def _record_scenes(run: TaskRun, executor: Executor) -> None:
    packs = scene_packs(run)
    if not packs:
        return
    folder = folder_of(run)
    with task("collect scenes", run.spec.collect.scenes, "scenes") as advance:
        under_way = {}
        for first, count in packs:
            if (folder / _pack_name(first, count)).exists():
                advance(count)
            else:
                under_way[executor.submit(_scenes, first, count)] = count
        while under_way:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                advance(under_way.pop(future))


class _Worker:
    """Hold what a worker process built once."""

    environment: Environment
    folder: Path


def _initialise(name: str, config: Any, folder: Path) -> None:
    from ..plugins.registry import find

    _Worker.environment = find(Kind.ENVIRONMENT, name).build(config)
    _Worker.folder = folder


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


def _scenes(first: int, count: int) -> None:
    try:
        frames = [_Worker.environment.scene(seed) for seed in range(first, first + count)]
    except Exception as err:
        err.add_note(f"while recording the scenes of seeds {first} to {first + count - 1}")
        raise
    name = _pack_name(first, count)
    write_episode(_Worker.folder / name, _packed(name, frames), extra={"first_seed": first})


def _packed(name: str, frames: Sequence[Episode]) -> Episode:
    """Join single frames into one action-free episode."""
    import numpy as np

    join: Callable[[list[NDArray[Any]]], NDArray[Any]] = np.concatenate
    stack: list[NDArray[np.uint8]] = [frame.rgb[:] for frame in frames]
    clouds = [frame.clouds[0] for frame in frames if frame.clouds is not None]
    return attrs.evolve(
        frames[0],
        name=name,
        rgb=join(stack),
        clouds=None if frames[0].clouds is None else clouds,
        state={key: join([frame.state[key] for frame in frames]) for key in frames[0].state},
    )
