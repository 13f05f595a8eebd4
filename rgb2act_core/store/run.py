"""Where a run lives: its spec, the store that runs share, its own folder, its device."""

from __future__ import annotations

from pathlib import Path

import attrs

from ..spec import EnvironmentChoice, Spec


@attrs.frozen(kw_only=True)
class Run:
    """Bind a spec to a root folder: ``root/store`` is shared, ``root/<name>`` is the run's."""

    spec: Spec
    root: Path

    @property
    def store(self) -> Path:
        """Return the folder of episodes, features and stages that runs share."""
        return self.root / "store"

    @property
    def folder(self) -> Path:
        """Return the folder of this run: its record, its report, its event files."""
        return self.root / self.spec.name

    @property
    def tasks(self) -> tuple[TaskRun, ...]:
        """Return a run of each task alone, in the same store."""
        return tuple(
            TaskRun(spec=attrs.evolve(self.spec, environment=choice), root=self.root)
            for choice in self.spec.environments
        )


@attrs.frozen(kw_only=True)
class TaskRun(Run):
    """A run of one task."""

    @property
    def environment(self) -> EnvironmentChoice:
        """Return the environment of the task."""
        return self.spec.environments[0]
