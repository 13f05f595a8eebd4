"""The training of a stage, as the first process asks the others to take part in it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import attrs

from ..data.dataset import Dataset
from ..errors import UserError
from ..stages.run import Run
from ..stages.tasks import Tasks, dataset_of, open_tasks
from ..training.ranks import Ranks


class TrainingJob(Protocol):
    """A stage that trains, whose files the first process writes."""

    @property
    def run(self) -> Run:
        """Return the run."""

    def take_part(self, ranks: Ranks) -> None:
        """Train with the first process, which does the same work in its stage."""


@attrs.frozen(kw_only=True)
class AlignJob:
    """Training of an aligner."""

    run: Run
    data: str  # key of the data set
    folder: Path

    def take_part(self, ranks: Ranks) -> None:
        """Train the aligner with the first process."""
        from ..stages import align as align_stage

        _, data = _opened(self.run, self.data)
        align_stage.align(self.run, data, self.folder, None, ranks)


@attrs.frozen(kw_only=True)
class PolicyJob:
    """Training of a policy."""

    run: Run
    data: str  # key of the data set
    aligner: Path | None
    folder: Path
    title: str

    def take_part(self, ranks: Ranks) -> None:
        """Train the policy with the first process."""
        from ..stages import train as train_stage

        tasks, data = _opened(self.run, self.data)
        train_stage.train(
            self.run, data, tasks.info, self.aligner, self.folder, None, self.title, ranks=ranks
        )


def _opened(run: Run, key: str) -> tuple[Tasks, Dataset]:
    """Return the tasks and the data set; UserError if this process sees other data."""
    tasks = open_tasks(run)
    data = dataset_of(tasks)
    if data is None or data.key != key:
        raise UserError(
            f"{run.store}: this process does not see the demonstrations of the first one; check"
            " that all machines share the folder"
        )
    return tasks, data
