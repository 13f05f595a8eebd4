"""The demonstrations of a run, a spec or a recorded data set, for exporters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from ..errors import UserError
from ..interfaces import Environment, EnvironmentInfo, Episode
from ..plugins import registry
from ..plugins.components import Kind
from ..spec.reader import read_spec
from ..stages.run import Run
from ..stages.tasks import check_shared, dataset_of, open_tasks, shared_info
from ..store.root_folder import resolved
from ..system.default_root import default_root
from .find_run import find_run, run_folder
from .run_record import open_dataset, read_run


@attrs.frozen(eq=False, kw_only=True)
class Demonstrations:
    """Recorded episodes with actions, of one or several tasks."""

    info: EnvironmentInfo
    """What all tasks have in common; ``task`` lists their names."""
    openers: tuple[Callable[[], Episode], ...]
    """Opens each episode; images are read when they are indexed."""

    def __len__(self) -> int:
        return len(self.openers)

    def __iter__(self) -> Iterator[Episode]:
        for opener in self.openers:
            yield opener()


def open_demonstrations(source: str | Path, root: str | Path | None = None) -> Demonstrations:
    """Return the demonstrations of a run, of a spec (TOML file), or of a data set's files.

    ``source`` is a run as in ``find_run``, the path of a spec whose demonstrations are collected
    under ``root``, or a folder that ``rgb2act inspect`` reads. Raises UserError if there are none,
    or if tasks differ in cameras, image size or actions.
    """
    path = Path(source)
    if path.suffix == ".toml" and path.is_file():
        return _of_spec(path, resolved(Path(root or default_root())))
    if run_folder(source, root) is None and path.exists():
        return _of_data_set(path)
    tasks, data = open_dataset(read_run(find_run(source, root)))
    return Demonstrations(info=tasks.info, openers=tuple(ref.open for ref in data.demonstrations))


def _of_spec(path: Path, root: Path) -> Demonstrations:
    tasks = open_tasks(Run(spec=read_spec(path), root=root))
    data = dataset_of(tasks)
    if data is None:
        raise UserError(f"{path}: its demonstrations are not recorded yet; run rgb2act collect")
    return Demonstrations(info=tasks.info, openers=tuple(ref.open for ref in data.demonstrations))


def _of_data_set(path: Path) -> Demonstrations:
    environments = _environments(path)
    infos = [environment.info for environment in environments]
    check_shared([info.task for info in infos], infos)
    episodes = [episode for each in environments for episode in each.recorded()]
    return Demonstrations(
        info=shared_info([info.task for info in infos], infos),
        openers=tuple(_opener(episode) for episode in episodes),
    )


def _opener(episode: Episode) -> Callable[[], Episode]:
    return lambda: episode


def _environments(path: Path) -> Sequence[Environment]:
    """Return an environment for each task of a data set."""
    for kind, component in registry.components():
        if kind is not Kind.ENVIRONMENT or component.inspect is None:
            continue
        if (found := component.inspect(path)) is not None:
            if environments := list(found.environments()):
                return environments
            raise UserError(f"{path}: has no intact episode; rgb2act inspect names the damage")
    raise UserError(f"{path}: is no run, spec or data set that an installed plugin reads")
