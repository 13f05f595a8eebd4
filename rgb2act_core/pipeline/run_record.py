"""``run.json``: key, output folder and duration of each stage of a run."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from .._version import __version__
from ..data.dataset import Dataset
from ..errors import UserError
from ..interfaces import Finding
from ..spec import Spec
from ..spec.reader import structure, unstructure
from ..stages.run import Run
from ..stages.tasks import Task, Tasks, dataset_of, open_tasks
from ..store.disk_errors import guard, is_read_only
from ..store.files import read_json, write_record
from ..store.run_file import RECORD, RunFile, StageRecord, read_run_file
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage, StageId


class RunRecord:
    """Writer of a run's ``run.json``."""

    def __init__(self, run: Run) -> None:
        self.run, self.path = run, run.folder / RECORD
        self.previous = _previous_stages(run.folder)
        self._stages: dict[StageId, StageRecord] = {}
        self._samples: dict[str, Any] = {}
        self._findings: tuple[Finding, ...] = ()

    def add(self, stage: StageRecord) -> None:
        """Add a stage and write the file.

        A cached stage without times of its own keeps those of the run that recorded it.
        """
        before = self.previous.get(stage.id)
        if stage.cached and before is not None and before.key == stage.key:
            stage = attrs.evolve(stage, seconds=before.seconds, cpu_seconds=before.cpu_seconds)
        self._stages[stage.id] = stage
        self._write()

    def add_samples(self, samples: Mapping[str, Any]) -> None:
        """Add the paths of one episode and its features, which the report shows."""
        self._samples = dict(samples)
        self._write()

    def add_findings(self, findings: Sequence[Finding]) -> None:
        """Add what the checks of the demonstrations found."""
        self._findings = tuple(findings)
        self._write()

    def _write(self) -> None:
        """Write the file; on a read-only disk, the record of a run that is cached is kept."""
        try:
            self._replace()
        except UserError as err:
            known = {id: stage.key for id, stage in self.previous.items()}
            stages = self._stages.items()
            cached = all(stage.cached and known.get(id) == stage.key for id, stage in stages)
            if not (cached and is_read_only(err)):
                raise

    def _replace(self) -> None:
        with guard(self.run.folder):
            self.run.folder.mkdir(parents=True, exist_ok=True)
        earlier = [stage for id, stage in self.previous.items() if id not in self._stages]
        content = RunFile(
            name=self.run.spec.name,
            version=__version__,
            created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            spec=unstructure(self.run.spec, root=self.run.root),
            stages=tuple(self._stages.values()),
            earlier_stages=tuple(earlier),
            samples=self._samples,
            environment=versions(),
            findings=self._findings,
        )
        write_record(self.path, content.to_json())


def _previous_stages(folder: Path) -> dict[StageId, StageRecord]:
    """Return the stages of an earlier record; empty if it is missing or cannot be read."""
    with contextlib.suppress(UserError):
        old = read_run_file(folder)
        return {stage.id: stage for stage in (*old.earlier_stages, *old.stages)}
    return {}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the numeric libraries, and the processor type."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "numpy", "zarr", "diffusers", "mujoco"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@attrs.frozen(kw_only=True)
class RecordedRun:
    """A run and the stages that its ``run.json`` records."""

    folder: Path
    run: Run
    stages: Mapping[StageId, StageRecord]

    def policy_folder(self) -> StageFolder:
        """Return the trained policy's folder. Raises UserError if the run has none."""
        path = self.stage_folder(StageId(Stage.TRAIN))
        if not (path / "stage.json").is_file():
            raise UserError(f"{self.folder}: the policy is not trained yet; run the spec first")
        inputs = read_json(path / "stage.json").get("inputs")
        return StageFolder(parent=path.parent, inputs=inputs or {}, key=path.name)

    def stage_folder(self, stage: StageId) -> Path:
        """Return the folder of a stage's output. Raises UserError if the run did not reach it."""
        if stage not in self.stages:
            raise UserError(f"{self.folder}: has no stage {str(stage)!r} yet; finish the run first")
        return self.run.root / self.stages[stage].path


def read_run(folder: Path) -> RecordedRun:
    """Return the run that is recorded in ``folder``, such as ``runs/NAME``.

    Files that its spec names need not exist: whoever uses one reports that it is missing. Its
    loggers are left out, so that their plugins need not be installed. Raises
    UserError if there is no ``run.json`` or if it is damaged.
    """
    content, root = read_run_file(folder), folder.resolve().parent
    start = root if content.format > 1 else Path.cwd()
    plain = {name: value for name, value in content.spec.items() if name != "log"}
    spec = structure(Spec, plain, folder=start, files=False)
    run = Run(spec=spec, root=root)
    stages = {stage.id: stage for stage in content.stages}
    return RecordedRun(folder=folder, run=run, stages=stages)


def recorded_tasks(recorded: RecordedRun) -> Tasks:
    """Return the tasks of a run, with the folders in which their episodes were recorded."""
    tasks = open_tasks(recorded.run)
    return attrs.evolve(tasks, each=tuple(_recorded_task(recorded, tasks, t) for t in tasks))


def _recorded_task(recorded: RecordedRun, tasks: Tasks, task: Task) -> Task:
    stage = tasks.stage_id(Stage.COLLECT, task)
    if stage not in recorded.stages:
        return task
    scenes = recorded.stages[stage].scenes
    run = attrs.evolve(
        task.run,
        episodes=recorded.stage_folder(stage),
        scenes=recorded.run.root / scenes if scenes else None,
    )
    return attrs.evolve(task, run=run)


def open_dataset(recorded: RecordedRun) -> tuple[Tasks, Dataset]:
    """Return the tasks of a run and its data set, which is read where the run recorded it.

    ``tasks.run`` is the run with the seeds that its environments chose. Raises UserError if
    demonstrations are missing.
    """
    tasks = recorded_tasks(recorded)
    data = dataset_of(tasks)
    if data is None:
        raise UserError(f"{recorded.folder}: demonstrations are missing; run the spec again")
    return tasks, data
