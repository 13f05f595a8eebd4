"""``run.json``: key, output folder and duration of each stage of a run."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from .._version import __version__
from ..data.dataset import Dataset
from ..errors import UserError
from ..spec import Spec
from ..spec.reader import structure, unstructure
from ..stages.run import Run
from ..stages.tasks import Tasks, dataset_of, open_tasks
from ..store.files import guard, read_json, write_json
from ..store.stage_id import StageId
from .find_run import RECORD


@attrs.frozen(kw_only=True)
class StageRecord:
    """One stage as ``run.json`` records it."""

    id: StageId
    key: str
    path: str  # relative to the folder of all runs
    cached: bool  # whether the last command found it finished
    reason: str = ""  # why it ran
    seconds: float = 0.0  # wall time of the stage when it ran
    cpu_seconds: float = 0.0

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> StageRecord:
        """Return the record in JSON data.

        Raises KeyError, TypeError or ValueError if the data is damaged.
        """
        return cls(
            id=StageId.parse(str(data["stage"])),
            key=str(data["key"]),
            path=str(data["path"]),
            cached=bool(data["cached"]),
            reason=str(data["reason"]),
            seconds=float(data["seconds"]),
            cpu_seconds=float(data["cpu_seconds"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        values = attrs.asdict(self, recurse=False)
        return {"stage": str(values.pop("id")), **values}


class RunRecord:
    """Writer of a run's ``run.json``."""

    def __init__(self, run: Run) -> None:
        self.run, self.path = run, run.folder / RECORD
        self.previous = _previous_stages(self.path)
        self._stages: dict[StageId, StageRecord] = {}
        self._samples: dict[str, Any] = {}

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

    def _write(self) -> None:
        with guard(self.run.folder):
            self.run.folder.mkdir(parents=True, exist_ok=True)
        earlier = [stage for id, stage in self.previous.items() if id not in self._stages]
        data = {
            "name": self.run.spec.name,
            "version": __version__,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "spec": unstructure(self.run.spec),
            "stages": [stage.to_json() for stage in self._stages.values()],
            # recorded by an earlier command
            "earlier_stages": [stage.to_json() for stage in earlier],
            "samples": self._samples,
            "environment": versions(),
        }
        write_json(self.path, data)


def _previous_stages(path: Path) -> dict[StageId, StageRecord]:
    """Return the stages of an earlier record; empty if it is missing or cannot be read."""
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
        old = read_json(path)
        stages = map(StageRecord.of_json, [*old.get("earlier_stages", []), *old["stages"]])
        return {stage.id: stage for stage in stages}
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

    def stage_folder(self, stage: StageId) -> Path:
        """Return the folder of a stage's output. Raises UserError if the run did not reach it."""
        if stage not in self.stages:
            raise UserError(f"{self.folder}: has no stage {str(stage)!r} yet; finish the run first")
        return self.run.root / self.stages[stage].path


def read_run(folder: Path) -> RecordedRun:
    """Return the run that is recorded in ``folder``, such as ``runs/NAME``.

    Raises UserError if there is no ``run.json`` or if it is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        raise UserError(f"{folder}: no run.json; name the folder of a run, such as runs/NAME")
    data = read_json(path)
    run = Run(spec=structure(Spec, data.get("spec")), root=folder.resolve().parent)
    try:
        stages = [StageRecord.of_json(stage) for stage in data["stages"]]
    except (KeyError, TypeError, ValueError) as err:
        raise UserError(f"{path}: stages are damaged; delete it and run the spec again") from err
    return RecordedRun(folder=folder, run=run, stages={stage.id: stage for stage in stages})


def open_dataset(recorded: RecordedRun) -> tuple[Tasks, Dataset]:
    """Return the tasks of a run and its data set.

    ``tasks.run`` is the run with the seeds that its environments chose. Raises UserError if
    demonstrations are missing.
    """
    tasks = open_tasks(recorded.run)
    data = dataset_of(tasks)
    if data is None:
        raise UserError(f"{recorded.folder}: demonstrations are missing; run the spec again")
    return tasks, data
